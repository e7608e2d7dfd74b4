#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/text.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/memory_meter.hpp>

/// Files that lie, one a row.
namespace nibble_test {

struct crafted_file {
  std::string what;  ///< the lie
  std::vector<std::byte> file;
  std::string code;                  ///< that opening ends with, or "taken"
  std::vector<std::string> named{};  ///< parts of the message; of a file that opens, of its notes
  std::function<void(const nibble::reader&)> reads_as{};  ///< where it opens
};

/// What opening may take, whatever the file says.
[[nodiscard]] inline std::uint64_t most_memory_bytes(std::size_t file_bytes) {
  return 4 * std::uint64_t{file_bytes} + 16'000'000;
}
inline constexpr double most_seconds = 0.1;

/// How many times as long as on the processor that the bound is meant for (2.8 GHz, its memory at hand)
/// this one takes now: processors are shared, and clocks rise and fall.
[[nodiscard]] inline double slowness() {
  constexpr double usual_seconds = 0.005;
  double least = 1000.0;
  for (int turn = 0; turn < 2; ++turn) {
    const double start = thread_seconds();
    std::uint64_t state = 1;
    for (int i = 0; i < 2'000'000; ++i) state = state * 6364136223846793005U + 1442695040888963407U;
    const std::vector<std::uint64_t> written(1U << 21U, state);
    const volatile std::uint64_t used = written[state % written.size()];
    static_cast<void>(used);
    least = std::min(least, thread_seconds() - start);
  }
  return std::max(1.0, least / usual_seconds);
}

/// Tries again a few times over before it says that something is slow.
template <class Work>
[[nodiscard]] expense least_expense_of(const Work& work) {
  expense least = expense_of(work);
  for (int turn = 0; turn < 9 && least.seconds > most_seconds; ++turn) {
    const expense again = expense_of(work);
    least.seconds = std::min(least.seconds, again.seconds / slowness());
    least.peak_bytes = std::max(least.peak_bytes, again.peak_bytes);
  }
  return least;
}

/// A message is one line that a terminal can be shown.
[[nodiscard]] inline bool is_fit_for_a_terminal(std::string_view message) {
  return nibble::escape_text(message) == message;
}

/// Opens a row's bytes in memory, and where it is small examines what opened.
[[nodiscard]] inline std::string open_in_memory(const crafted_file& row) {
  std::string notes;
  const nibble::reader in(row.file, "crafted");
  if (row.file.size() > 100'000) return notes;
  for (const nibble::finding& one : in.examine()) {
    notes += fmt::format("{} {}: {}\n", one.tensor, one.field, one.text);
  }
  if (row.reads_as) row.reads_as(in);
  return notes;
}

/// Opens a row by `open`, which gives notes, and holds what comes against what the row says and against
/// the bounds of memory and time.
template <class Open>
void check_crafted(const crafted_file& row, const Open& open) {
  INFO(row.what);
  outcome result;
  std::string notes;
  const expense spent = least_expense_of([&] { result = outcome_of([&] { notes = open(row); }); });
  CHECK(result.code == row.code);
  CHECK(missing_parts(result.code == "taken" ? notes : result.message, row.named) == "");
  if (result.code != "taken") CHECK(missing_parts(result.message, {"crafted", ": "}) == "");
  CHECK(is_fit_for_a_terminal(result.message));
  if (is_sanitized) return;
  CHECK(spent.peak_bytes < most_memory_bytes(row.file.size()));
  CHECK(spent.seconds < most_seconds);
  if (row.file.size() > 500'000) {
    // For who runs the test by hand with -s.
    SUCCEED(fmt::format("{}: {} bytes, {:.1f} MB of memory, {:.0f} ms, {}", row.what, row.file.size(),
                        1e-6 * static_cast<double>(spent.peak_bytes), 1e3 * spent.seconds,
                        result.code));
  }
}

inline void check_crafted(const crafted_file& row) { check_crafted(row, open_in_memory); }
inline void check_crafted(const std::vector<crafted_file>& rows) {
  for (const crafted_file& row : rows) check_crafted(row);
}

/// Text of at least `bytes`, of parts that `part` makes from their number.
template <class Part>
[[nodiscard]] std::string repeated(std::size_t bytes, const Part& part) {
  std::string text;
  text.reserve(bytes + 100);
  for (std::size_t i = 0; text.size() < bytes; ++i) text += part(i);
  return text;
}

}  // namespace nibble_test
