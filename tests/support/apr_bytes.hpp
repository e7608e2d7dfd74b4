#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/error.hpp>

#include <support/bytes.hpp>
#include <support/outcome.hpp>

/// Files built byte by byte from the written format, sharing nothing with the library but its error
/// type: what the library writes and reads is held against these.
namespace nibble_test {

/// CRC-32 by its definition: reflected, polynomial 0x04C11DB7, inverted before and after.
[[nodiscard]] inline std::uint32_t plain_crc32(std::span<const std::byte> bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> remainders{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t remainder = byte;
      for (int bit = 0; bit < 8; ++bit) {
        remainder = remainder >> 1U ^ ((remainder & 1U) != 0 ? 0xEDB88320U : 0U);
      }
      remainders[byte] = remainder;
    }
    return remainders;
  }();
  std::uint32_t sum = 0xFFFFFFFFU;
  for (const std::byte byte : bytes) {
    sum = sum >> 8U ^ table[(sum ^ std::to_integer<std::uint32_t>(byte)) & 0xFFU];
  }
  return ~sum;
}

/// Figures of an encoding as format/README.md tables them.
struct encoding_figures {
  std::string_view name;
  std::uint64_t block_elements;
  std::uint64_t block_bytes;
  std::uint64_t block_rows;    ///< that a block holds elements of; 0: it runs on from one to the next
  std::uint64_t header_bytes;  ///< before the blocks; only apr_q8 has one, and no block figures
  int dtype_id;                ///< that this library writes
};

// clang-format off
inline constexpr std::array<encoding_figures, 39> all_figures{{
    {"f32", 1, 4, 0, 0, 0},      {"f16", 1, 2, 0, 0, 1},      {"bf16", 1, 2, 0, 0, 30},
    {"f64", 1, 8, 0, 0, 3},      {"i32", 1, 4, 0, 0, 4},      {"i64", 1, 8, 0, 0, 5},
    {"i8", 1, 1, 0, 0, 6},       {"u8", 1, 1, 0, 0, 7},       {"q8", 32, 36, 1, 0, 9},
    {"q4", 32, 20, 1, 0, 8},      {"apr_q8", 1, 1, 0, 4, 129}, {"apr_q4", 32, 18, 0, 0, 128},
    {"q4_0", 32, 18, 1, 0, 2},    {"q4_1", 32, 20, 1, 0, 3},    {"q5_0", 32, 22, 1, 0, 6},
    {"q5_1", 32, 24, 1, 0, 7},    {"q8_0", 32, 34, 1, 0, 8},    {"q2_k", 256, 84, 1, 0, 10},
    {"q3_k", 256, 110, 1, 0, 11}, {"q4_k", 256, 144, 1, 0, 12}, {"q5_k", 256, 176, 1, 0, 13},
    {"q6_k", 256, 210, 1, 0, 14}, {"iq4_nl", 32, 18, 1, 0, 20}, {"iq4_xs", 256, 136, 1, 0, 23},
    {"mxfp4", 32, 17, 1, 0, 39},  {"nvfp4", 64, 36, 1, 0, 40},  {"q1_0", 128, 18, 1, 0, 41},
    {"q2_0", 64, 18, 1, 0, 42},   {"iq2_xxs", 256, 66, 1, 0, 16}, {"iq2_xs", 256, 74, 1, 0, 17},
    {"iq3_xxs", 256, 98, 1, 0, 18}, {"iq1_s", 256, 50, 1, 0, 19}, {"iq3_s", 256, 110, 1, 0, 21},
    {"iq2_s", 256, 82, 1, 0, 22}, {"iq1_m", 256, 56, 1, 0, 29}, {"tq1_0", 256, 54, 1, 0, 34},
    {"tq2_0", 256, 66, 1, 0, 35}, {"q4_r8", 256, 160, 8, 0, 144},  {"q8_r8", 256, 288, 8, 0, 145},
}};
// clang-format on

[[nodiscard]] constexpr const encoding_figures& figures_of(std::string_view name) {
  for (const encoding_figures& row : all_figures) {
    if (row.name == name) return row;
  }
  throw std::logic_error("no such encoding in format/README.md");
}

/// Stored size by format/README.md's formulas, for tensors whose figures fit 64 bits.
[[nodiscard]] constexpr std::uint64_t size_of_matrix(const encoding_figures& of, std::uint64_t rows,
                                                     std::uint64_t cols) {
  if (rows == 0 || cols == 0) return 0;
  if (of.block_rows != 0) {
    const std::uint64_t block_cols = of.block_elements / of.block_rows;
    return (rows + of.block_rows - 1) / of.block_rows * ((cols + block_cols - 1) / block_cols) *
           of.block_bytes;
  }
  return (rows * cols + of.block_elements - 1) / of.block_elements * of.block_bytes + of.header_bytes;
}

[[nodiscard]] inline std::uint64_t size_by_formula(std::string_view encoding,
                                                   const std::vector<std::uint64_t>& dimensions) {
  const std::uint64_t cols = dimensions.empty() ? 1 : dimensions.back();
  std::uint64_t rows = 1;
  for (std::size_t i = 0; i + 1 < dimensions.size(); ++i) rows *= dimensions[i];
  return size_of_matrix(figures_of(encoding), rows, cols);
}

/// An index entry and the bytes behind it. What is set explicitly goes into the entry as it is.
struct apr_tensor {
  std::string name{};
  int dtype_id = 0;
  std::vector<std::uint64_t> dimensions{};
  std::vector<std::byte> bytes{};
  std::optional<std::uint64_t> offset{};  ///< from data_offset; otherwise the next multiple of 64
  std::optional<std::uint64_t> size{};    ///< otherwise bytes.size()
  std::optional<int> name_bytes{};
  std::optional<int> rank{};
};

/// Recomputes the header's checksum, so that a field patched behind its back is believed.
inline void seal_header(std::vector<std::byte>& file) {
  std::vector<std::byte> summed(file.begin(), file.begin() + 40);
  summed.insert(summed.end(), file.begin() + 44, file.begin() + 64);
  put_number(file, 40, plain_crc32(summed));
}

/// Recomputes the footer of a file that has one.
inline void seal_footer(std::vector<std::byte>& file) {
  const std::size_t end = file.size() - 4;
  put_number(file, end, plain_crc32(std::span<const std::byte>(file).first(end)));
}

/// An .apr file of version 2.
struct apr_file {
  std::string metadata = "{}";
  std::vector<apr_tensor> tensors{};
  std::vector<std::byte> behind_entries{};
  std::uint16_t flags = 0x400;
  bool has_footer = true;

  [[nodiscard]] std::vector<std::byte> bytes() const {
    const auto pad = [](std::vector<std::byte>& to) { to.resize((to.size() + 63) / 64 * 64); };
    std::vector<std::byte> data;
    std::vector<std::byte> index;
    for (const apr_tensor& tensor : tensors) {
      const std::uint64_t offset = tensor.offset.value_or(data.size());
      append_number(index, static_cast<std::uint16_t>(
                               tensor.name_bytes.value_or(static_cast<int>(tensor.name.size()))));
      const auto name = bytes_of(tensor.name);
      index.insert(index.end(), name.begin(), name.end());
      append_number(index, static_cast<std::uint8_t>(tensor.dtype_id));
      append_number(index, static_cast<std::uint8_t>(
                               tensor.rank.value_or(static_cast<int>(tensor.dimensions.size()))));
      for (const std::uint64_t dimension : tensor.dimensions) append_number(index, dimension);
      append_number(index, offset);
      append_number(index, tensor.size.value_or(tensor.bytes.size()));
      if (offset > 1U << 24U) continue;  // an offset that lies, not a place
      const auto at = static_cast<std::size_t>(offset);
      data.resize(std::max(data.size(), at + tensor.bytes.size()));
      std::ranges::copy(tensor.bytes, data.begin() + static_cast<std::ptrdiff_t>(at));
      pad(data);
    }
    index.insert(index.end(), behind_entries.begin(), behind_entries.end());
    pad(index);

    std::vector<std::byte> file = bytes_of(std::string_view("APR\0\2\0", 6));
    append_number(file, flags);
    append_number(file, static_cast<std::uint32_t>(tensors.size()));
    append_number(file, std::uint64_t{64});
    append_number(file, static_cast<std::uint32_t>(metadata.size()));
    const std::uint64_t index_offset = 64 + (metadata.size() + 63) / 64 * 64;
    append_number(file, index_offset);
    append_number(file, index_offset + index.size());
    file.resize(64);
    seal_header(file);
    const auto text = bytes_of(metadata);
    file.insert(file.end(), text.begin(), text.end());
    pad(file);
    file.insert(file.end(), index.begin(), index.end());
    file.insert(file.end(), data.begin(), data.end());
    if (has_footer) append_number(file, plain_crc32(file));
    return file;
  }
};

/// The value of metadata's "nibble" for tensors stored as the encodings named.
[[nodiscard]] inline std::string record_text(const std::vector<apr_tensor>& tensors,
                                             const std::vector<std::string>& encodings) {
  std::vector<std::string> packing;
  std::string listed;
  std::string places;
  std::string sums;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    auto at = std::ranges::find(packing, encodings[i]);
    if (at == packing.end()) {
      const encoding_figures& figures = figures_of(encodings[i]);
      listed += fmt::format("{}{{\"encoding\":\"{}\"", packing.empty() ? "" : ",", figures.name);
      if (figures.header_bytes == 0) {
        listed += fmt::format(",\"block_elements\":{},\"block_bytes\":{}", figures.block_elements,
                              figures.block_bytes);
      }
      listed += '}';
      at = packing.insert(packing.end(), encodings[i]);
    }
    places += fmt::format("{:02x}", at - packing.begin());
    sums += fmt::format("{:08x}", plain_crc32(tensors[i].bytes));
  }
  return fmt::format(R"({{"version":1,"packing":[{}],"tensors":"{}","crc32":"{}"}})", listed, places,
                     sums);
}

/// Bytes that an encoding of format/README.md decodes to finite values: random codes under tame scales.
[[nodiscard]] inline std::vector<std::byte> tame_bytes(std::string_view encoding,
                                                       const std::vector<std::uint64_t>& dimensions,
                                                       std::uint32_t seed) {
  std::mt19937 generator(seed);
  const encoding_figures& figures = figures_of(encoding);
  std::vector<std::byte> bytes(static_cast<std::size_t>(size_by_formula(encoding, dimensions)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator() & 0xFFU);
  if (bytes.empty()) return bytes;
  if (encoding == "f32") {
    for (std::size_t at = 0; at < bytes.size(); at += 4) bytes[at + 3] = std::byte{0x3F};
  } else if (encoding == "f16" || encoding == "bf16") {
    for (std::size_t at = 0; at < bytes.size(); at += 2) bytes[at + 1] = std::byte{0x3C};
  } else if (encoding == "apr_q8") {
    put_number(bytes, 0, std::uint32_t{0x3C800000});  // 2^-6
    for (std::size_t at = 4; at < bytes.size(); ++at) {
      if (bytes[at] == std::byte{0x80}) bytes[at] = std::byte{0x7F};
    }
  } else if (figures.block_rows > 1) {
    for (std::size_t at = 0; at < bytes.size(); at += figures.block_bytes) {
      for (std::size_t row = 0; row < figures.block_rows; ++row) {
        put_number(bytes, at + 2 * row, std::uint16_t{0x2400});
        put_number(bytes, at + 2 * (figures.block_rows + row), std::uint16_t{0xB800});
      }
    }
  } else if (figures.block_elements > 1) {
    for (std::size_t at = 0; at < bytes.size(); at += figures.block_bytes) {
      put_number(bytes, at, std::uint16_t{0x2400});                                // scale 2^-6
      if (encoding != "apr_q4") put_number(bytes, at + 2, std::uint16_t{0xB800});  // min -0.5
    }
  }
  return bytes;
}

/// A tensor as this library writes it.
[[nodiscard]] inline apr_tensor tame_tensor(std::string name, std::string_view encoding,
                                            std::vector<std::uint64_t> dimensions,
                                            std::uint32_t seed = 1) {
  auto bytes = tame_bytes(encoding, dimensions, seed);
  return {.name = std::move(name),
          .dtype_id = figures_of(encoding).dtype_id,
          .dimensions = std::move(dimensions),
          .bytes = std::move(bytes)};
}

/// A small file with a packing record: one tensor of each encoding that this library packs, an empty
/// one and a scalar, none of whose values verify() finds fault with.
[[nodiscard]] inline apr_file recorded_sample() {
  const std::vector<std::string> encodings = {"apr_q4", "apr_q8", "bf16", "f16", "f32",
                                              "q4",     "q4",     "q8",   "f32"};
  apr_file file{
      .tensors = {tame_tensor("a.apr_q4", "apr_q4", {3, 11}, 2),
                  tame_tensor("b.apr_q8", "apr_q8", {2, 5}, 3), tame_tensor("c.bf16", "bf16", {3}, 4),
                  tame_tensor("d.f16", "f16", {2, 2}, 5), tame_tensor("e.f32", "f32", {1, 3}, 6),
                  tame_tensor("f.empty", "q4", {0, 7}), tame_tensor("g.q4", "q4", {2, 33}, 7),
                  tame_tensor("h.q8", "q8", {40}, 8), tame_tensor("i.scalar", "f32", {}, 9)}};
  file.metadata =
      fmt::format(R"({{"architecture":"llama","nibble":{}}})", record_text(file.tensors, encodings));
  return file;
}

}  // namespace nibble_test
