#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/text.hpp>

#include "exit_code.hpp"

/// What the values of options say. Each function throws usage_error, naming option and value.
namespace nibble_command {

/// A whole number from `low` to `high`.
[[nodiscard]] inline std::uint64_t whole_number(std::string_view option, std::string_view text,
                                                std::uint64_t low, std::uint64_t high) {
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem == std::errc() && end == text.data() + text.size() && low <= number && number <= high) {
    return number;
  }
  throw usage_error(fmt::format("{} {}: a whole number from {} to {} is expected", option,
                                nibble::escape_text(text), low, high));
}

/// Whole numbers from 0 to a million between commas, not all of them 0.
[[nodiscard]] inline std::vector<std::uint64_t> share_list(std::string_view option,
                                                           std::string_view text) {
  constexpr std::uint64_t most = 1'000'000;
  std::vector<std::uint64_t> shares;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    shares.push_back(whole_number(option, rest.substr(0, comma), 0, most));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (std::any_of(shares.begin(), shares.end(), [](std::uint64_t share) { return share != 0; })) {
    return shares;
  }
  throw usage_error(fmt::format("{} {}: a number above 0 is expected for one rank at least", option,
                                nibble::escape_text(text)));
}

/// A finite number from 0 on.
[[nodiscard]] inline double number_from_zero(std::string_view option, const std::string& text) {
  std::size_t used = 0;
  double bound = -1.0;
  try {
    bound = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used != 0 && used == text.size() && std::isfinite(bound) && bound >= 0.0) return bound;
  throw usage_error(
      fmt::format("{} {}: a number from 0 on is expected", option, nibble::escape_text(text)));
}

/// A size in bytes: "800", "1.5MB", "2GiB". kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB
/// of 1024; letters of either case. What is no whole number of bytes is refused.
[[nodiscard]] inline std::uint64_t size_in_bytes(std::string_view option, std::string_view text) {
  struct unit {
    std::string_view name;  ///< in lower case
    std::uint64_t bytes;
  };
  constexpr unit units[] = {
      {"", 1},
      {"b", 1},
      {"k", 1000},
      {"kb", 1000},
      {"kib", 1ULL << 10U},
      {"m", 1'000'000},
      {"mb", 1'000'000},
      {"mib", 1ULL << 20U},
      {"g", 1'000'000'000},
      {"gb", 1'000'000'000},
      {"gib", 1ULL << 30U},
      {"t", 1'000'000'000'000},
      {"tb", 1'000'000'000'000},
      {"tib", 1ULL << 40U},
  };
  const auto refuse = [&]() -> usage_error {
    return usage_error(
        fmt::format("{} {}: a whole number of bytes from 1 on is expected, such as 800, 1.5MB or 2GiB",
                    option, nibble::escape_text(text)));
  };
  const std::size_t digits_end = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string name;
  for (const char letter : text.substr(digits_end)) {
    const bool is_upper = letter >= 'A' && letter <= 'Z';
    name += is_upper ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  name.erase(0, std::min(name.find_first_not_of(' '), name.size()));
  const unit* known = nullptr;
  for (const unit& each : units) {
    if (each.name == name) known = &each;
  }
  const std::string_view number = text.substr(0, digits_end);
  const std::size_t point = std::min(number.find('.'), number.size());
  const std::string_view whole = number.substr(0, point);
  const std::string_view decimals = number.substr(std::min(point + 1, number.size()));
  constexpr std::size_t max_digits = 15;
  if (known == nullptr || whole.empty() || whole.size() > max_digits || decimals.size() > max_digits ||
      (point != number.size() && decimals.empty()) || decimals.find('.') != std::string_view::npos) {
    throw refuse();
  }
  constexpr std::uint64_t most = std::uint64_t{1} << 62U;
  const std::uint64_t count = whole_number(option, whole, 0, most);
  if (count > most / known->bytes) throw refuse();
  std::uint64_t bytes = count * known->bytes;
  std::uint64_t numerator = 0;
  std::uint64_t denominator = 1;
  for (const char digit : decimals) {
    numerator = numerator * 10 + static_cast<std::uint64_t>(digit - '0');
    denominator *= 10;
  }
  const std::uint64_t shared = std::gcd(denominator, known->bytes);
  if (numerator % (denominator / shared) != 0) throw refuse();
  bytes += numerator / (denominator / shared) * (known->bytes / shared);
  if (bytes == 0 || bytes > most) throw refuse();
  return bytes;
}

/// Text with its letters A to Z small.
[[nodiscard]] inline std::string in_lower_case(std::string text) {
  for (char& letter : text) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return text;
}

/// "x, y or z".
[[nodiscard]] inline std::string list_choices(std::span<const std::string> names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
  }
  return text;
}

/// Requires that a value is one of `names`.
inline void require_choice(std::string_view option, const std::string& text,
                           const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name == text) return;
  }
  throw usage_error(
      fmt::format("{} {}: {} is expected", option, nibble::escape_text(text), list_choices(names)));
}

}  // namespace nibble_command
