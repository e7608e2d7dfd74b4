#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include <support/bytes.hpp>

/// Edits that make lies of valid files, chosen by the input.
namespace nibble_fuzz {

/// Numbers that files lie with: the ends of every width, and neighbours of what was there.
inline std::uint64_t lie(FuzzedDataProvider& from, std::uint64_t truth) {
  switch (from.ConsumeIntegralInRange(0, 9)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return truth + 1;
    case 3: return truth - 1;
    case 4: return ~std::uint64_t{0} >> from.ConsumeIntegralInRange(0, 63);
    case 5: return std::uint64_t{1} << from.ConsumeIntegralInRange(0, 63);
    case 6: return truth * 2;
    case 7: return truth + 64;
    case 8: return std::uint64_t{0} - truth;
    default: return from.ConsumeIntegral<std::uint64_t>();
  }
}

inline std::string name_of(FuzzedDataProvider& from) {
  if (from.ConsumeBool()) return std::string(1, from.ConsumeIntegralInRange('a', 'f'));
  if (from.ConsumeIntegralInRange(0, 3) == 0) {
    return std::string(from.PickValueInArray<std::size_t>({0, 63, 64, 65, 256, 257}), 'n');
  }
  return from.ConsumeRandomLengthString(20);
}

/// One edit to JSON text: a piece put in, taken out, doubled or replaced, mostly at the bounds of
/// tokens.
inline void bend_text(FuzzedDataProvider& from, std::string& text) {
  static constexpr std::array<std::string_view, 39> pieces = {
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "\"",
      "null",
      "true",
      "-0",
      "0",
      "1e400",
      "1e-400",
      "2",
      "18446744073709551616",
      "-9223372036854775809",
      "0.5",
      "\\u0000",
      "\\ud800",
      "\xFF",
      "\xEF\xBB\xBF",
      "{}",
      "[]",
      "\"a\":",
      "\"nibble\":",
      "\"dtype\":\"F32\"",
      "\"shape\":[1]",
      "\"data_offsets\":[0,4]",
      "\"__metadata__\":{}",
      "\"general.alignment\":",
      "\"sharding\":{\"shard_index\":0,\"shard_count\":2}",
      "\"weight_map\":",
      "[[[[[[[[",
      "\n",
      " ",
      "\"tensors\":\"\"",
      "\\u00e9",
      "\\ud83d\\ude00",
      "\"__metadata__\":{\"a\":\"b\"},"};
  std::vector<std::size_t> bounds = {0, text.size()};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (std::string_view("{}[],:\"").find(text[i]) != std::string_view::npos) {
      bounds.push_back(i);
      bounds.push_back(i + 1);
    }
  }
  std::ranges::sort(bounds);
  const bool keeps_tokens = from.ConsumeBool();
  const auto pick = [&] {
    if (keeps_tokens) return bounds[from.ConsumeIntegralInRange<std::size_t>(0, bounds.size() - 1)];
    return from.ConsumeIntegralInRange<std::size_t>(0, text.size());
  };
  const std::size_t one = pick();
  const std::size_t other = pick();
  const std::size_t begin = std::min(one, other);
  const std::size_t count = std::max(one, other) - begin;
  const auto piece = [&] {
    if (from.ConsumeBool()) return from.ConsumeRandomLengthString(12);
    return std::string(pieces[from.ConsumeIntegralInRange<std::size_t>(0, pieces.size() - 1)]);
  };
  switch (from.ConsumeIntegralInRange(0, 4)) {
    case 0: text.insert(begin, piece()); break;
    case 1: text.erase(begin, count); break;
    case 2: {
      const std::string copy = text.substr(begin, std::min<std::size_t>(count, 200));
      const bool is_many = from.ConsumeIntegralInRange(0, 7) == 1 && text.size() < 100'000;
      std::string copies;
      for (int i = is_many ? 300 : 1; i > 0; --i) copies += copy;
      text.insert(begin + count, copies);
      break;
    }
    case 3: text.replace(begin, count, piece()); break;
    default: {
      const std::size_t depth = from.ConsumeIntegralInRange<std::size_t>(1, 200);
      text.insert(begin, std::string(depth, '['));
      text.insert(begin + depth + count, std::string(depth, ']'));
    }
  }
}

/// Bytes of a size that the input does not have to spell out.
inline std::vector<std::byte> some_bytes(FuzzedDataProvider& from, std::size_t size) {
  const auto given = from.ConsumeBytes<std::uint8_t>(std::min<std::size_t>(size, 48));
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(given.empty() ? i & 0x3FU : given[i % given.size()]);
  }
  return bytes;
}

/// Overwrites numbers anywhere; `seal` makes checksums right again.
template <class Seal>
void patch(FuzzedDataProvider& from, std::vector<std::byte>& file, std::size_t head_bytes, Seal seal) {
  for (int i = from.ConsumeIntegralInRange(0, 3); i > 0 && file.size() > 8; --i) {
    const std::size_t last = file.size() - 8;
    const std::size_t at = from.ConsumeIntegralInRange<std::size_t>(
        0, from.ConsumeBool() ? std::min(head_bytes, last) : last);
    switch (from.ConsumeIntegralInRange(0, 3)) {
      case 0:
        nibble_test::put_number(
            file, at,
            static_cast<std::uint8_t>(lie(from, nibble_test::number_at<std::uint8_t>(file, at))));
        break;
      case 1:
        nibble_test::put_number(
            file, at,
            static_cast<std::uint16_t>(lie(from, nibble_test::number_at<std::uint16_t>(file, at))));
        break;
      case 2:
        nibble_test::put_number(
            file, at,
            static_cast<std::uint32_t>(lie(from, nibble_test::number_at<std::uint32_t>(file, at))));
        break;
      default:
        nibble_test::put_number(file, at, lie(from, nibble_test::number_at<std::uint64_t>(file, at)));
    }
  }
  if (from.ConsumeIntegralInRange(0, 7) == 0) {
    file.resize(from.ConsumeIntegralInRange<std::size_t>(0, file.size() + 130));
  }
  seal(file);
}

}  // namespace nibble_fuzz
