#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
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
#include <support/work_meter.hpp>

/// Files that lie, one a row.
namespace nibble_test {

/// The largest number that a file can say.
inline constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

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
/// What it may hand out one after the other: lists that double as they grow, and nothing twice.
[[nodiscard]] inline std::uint64_t most_memory_in_all_bytes(std::size_t file_bytes) {
  return 2 * most_memory_bytes(file_bytes);
}
/// And run: it is some 10 blocks a byte in most files, 160 at most where nothing is optimized.
[[nodiscard]] inline std::uint64_t most_blocks_of_code(std::size_t file_bytes) {
  return 300 * std::uint64_t{file_bytes} + 1'000'000;
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
/// the bounds of memory and work.
template <class Open>
void check_crafted(const crafted_file& row, const Open& open) {
  INFO(row.what);
  outcome result;
  std::string notes;
  const std::uint64_t blocks_before = work_meter::blocks_run();
  const expense spent = expense_of([&] { result = outcome_of([&] { notes = open(row); }); });
  const std::uint64_t blocks_of_code = work_meter::blocks_run() - blocks_before;
  CHECK(result.code == row.code);
  CHECK(missing_parts(result.code == "taken" ? notes : result.message, row.named) == "");
  if (result.code != "taken") CHECK(missing_parts(result.message, {"crafted", ": "}) == "");
  CHECK(is_fit_for_a_terminal(result.message));
  CHECK(blocks_of_code < most_blocks_of_code(row.file.size()));
  if (row.file.size() > 500'000) {
    // For who runs the test by hand with -s.
    SUCCEED(fmt::format("{}: {} bytes, {:.1f} MB of memory, {:.1f} in all, {:.1f} M blocks, {}",
                        row.what, row.file.size(), 1e-6 * static_cast<double>(spent.peak_bytes),
                        1e-6 * static_cast<double>(spent.total_bytes),
                        1e-6 * static_cast<double>(blocks_of_code), result.code));
  }
  if (is_sanitized) return;
  CHECK(spent.peak_bytes < most_memory_bytes(row.file.size()));
  CHECK(spent.total_bytes < most_memory_in_all_bytes(row.file.size()));
}

inline void check_crafted(const crafted_file& row) { check_crafted(row, open_in_memory); }
inline void check_crafted(const std::vector<crafted_file>& rows) {
  for (const crafted_file& row : rows) check_crafted(row);
}

/// Text of at least `bytes`, of parts that `part` makes from their number.
template <std::invocable<std::size_t> Part>
[[nodiscard]] std::string repeated(std::size_t bytes, const Part& part) {
  std::string text;
  text.reserve(bytes + 100);
  for (std::size_t i = 0; text.size() < bytes; ++i) text += part(i);
  return text;
}
/// The same part over and over.
[[nodiscard]] inline std::string repeated(std::size_t bytes, std::string_view part) {
  return repeated(bytes, [=](std::size_t) { return part; });
}

}  // namespace nibble_test
