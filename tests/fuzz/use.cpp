#include "use.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/replace_metadata.hpp>
#include <nibble/format/gguf/read_metadata.hpp>
#include <nibble/format/gguf/replace_metadata.hpp>
#include <nibble/format/gguf/write_metadata.hpp>
#include <nibble/format/replaced_metadata.hpp>
#include <nibble/format/safetensors/index.hpp>
#include <nibble/format/safetensors/replace_metadata.hpp>
#include <nibble/reader.hpp>
#include <nibble/source_reader.hpp>
#include <nibble/verify.hpp>

namespace nibble_fuzz {

namespace {

/// Elements that are decoded and multiplied at most: the fuzzer looks for faults, not for work.
constexpr std::uint64_t most_elements = 1U << 14U;

class bytes_in_memory final : public nibble::byte_source {
 public:
  explicit bytes_in_memory(std::span<const std::byte> bytes) : bytes_(bytes) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  void read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    require(offset <= bytes_.size() && to.size() <= bytes_.size() - offset);
    std::ranges::copy(bytes_.subspan(offset, to.size()), to.begin());
  }

 private:
  std::span<const std::byte> bytes_;
};

void use(const nibble::tensor_view& tensor) {
  if (!tensor.has_encoding() || !nibble::is_decodable(tensor.encoding())) return;
  if (tensor.elements() > most_elements) return;
  static_cast<void>(decode(tensor));
  if (tensor.rows() > most_elements || tensor.cols() > most_elements) return;
  for (const std::size_t x_rows : {1U, 3U}) {
    const std::vector<float> x(x_rows * tensor.cols(), 1.0F);
    for (std::size_t mode = 0; mode < multiply_modes; ++mode) {
      static_cast<void>(multiply(tensor, x, mode));
    }
  }
}

/// Loads what was opened piece by piece; no more may come of it than that a checksum is wrong.
void load(const nibble::source_reader& in, const nibble::tensor_description& tensor) {
  try {
    static_cast<void>(in.load(tensor.name()));
  } catch (const nibble::error& problem) {
    require(problem.code() == nibble::error_code::damaged);
  }
  const std::uint64_t rows = tensor.rows();
  try {
    const nibble::loaded_tensor part = in.load_rows(tensor.name(), rows / 2, rows - rows / 2);
    if (part.view().elements() <= most_elements && nibble::is_decodable(part.view().encoding())) {
      static_cast<void>(decode(part.view()));
    }
  } catch (const nibble::error& problem) {
    require(problem.code() == nibble::error_code::unsupported_encoding);
  }
}

/// Every parser refuses the bytes of another container, and what is none, by itself.
void parse_by_each(std::span<const std::byte> bytes, std::optional<nibble::container> which) {
  const auto opens = [&](const auto& parse, nibble::container container) {
    bool has_opened = false;
    try {
      has_opened = parse(bytes).container == container;
    } catch (const nibble::error&) {
    }
    require(has_opened == (which == container));
  };
  opens([](auto file) { return nibble::apr::parse(file); }, nibble::container::apr);
  opens([](auto file) { return nibble::gguf::parse(file); }, nibble::container::gguf);
  opens([](auto file) { return nibble::safetensors::parse(file); }, nibble::container::safetensors);
}

nibble::replaced_metadata replace_metadata(const nibble::reader& in, std::span<const std::byte> bytes) {
  switch (in.container()) {
    case nibble::container::apr: return nibble::apr::replace_metadata(bytes, in.metadata());
    case nibble::container::gguf: return nibble::gguf::replace_metadata(bytes, in.metadata());
    default: return nibble::safetensors::replace_metadata(bytes, in.metadata());
  }
}

/// Metadata that was read can be written, and is the same then, as are the tensors behind it.
void write_again(const nibble::reader& in, std::span<const std::byte> bytes) {
  if (in.container() == nibble::container::gguf) {
    std::vector<std::byte> written;
    const auto count = nibble::gguf::append_metadata(written, in.metadata());
    nibble::gguf::byte_cursor again(written, 0);
    require(nibble::gguf::read_metadata(again, count).values == in.metadata());
  }
  const nibble::replaced_metadata replaced = replace_metadata(in, bytes);
  std::vector<std::byte> file = replaced.front;
  file.insert(file.end(), replaced.kept.begin(), replaced.kept.end());
  if (replaced.has_footer) {
    const std::uint32_t sum = nibble::crc32_sum(std::span<const std::byte>(file)).value();
    file.resize(file.size() + nibble::apr::footer_bytes);
    nibble::store_number(file, file.size() - nibble::apr::footer_bytes, sum);
  }
  require(file.size() == replaced.file_bytes);
  const nibble::reader again(file);
  require(again.metadata() == in.metadata());
  require(again.size() == in.size());
  for (const nibble::tensor_view& tensor : in) {
    const nibble::tensor_view* const same = again.find(tensor.name());
    require(same != nullptr && same->shape() == tensor.shape());
    require(std::ranges::equal(same->bytes(), tensor.bytes()));
  }
}

}  // namespace

void use(const nibble::reader& in) {
  for (const nibble::tensor_view& tensor : in) {
    require(in.find(tensor.name()) == &tensor);
    use(tensor);
  }
  static_cast<void>(in.examine());
  static_cast<void>(in.shard());
}

bool open_and_use(std::span<const std::byte> bytes) {
  std::optional<nibble::reader> in;
  std::optional<nibble::error_code> refusal;
  try {
    in.emplace(bytes);
  } catch (const nibble::error& problem) {
    refusal = problem.code();
    require(is_one_line(problem.what()));
  }
  parse_by_each(bytes, in ? std::optional(in->container()) : std::nullopt);
  const bytes_in_memory source(bytes);
  std::optional<nibble::source_reader> pieces;
  try {
    pieces.emplace(source);
  } catch (const nibble::error&) {
  }
  require(in.has_value() == pieces.has_value());
  if (nibble::safetensors::is_index(bytes)) {
    try {
      static_cast<void>(nibble::safetensors::parse_index(bytes));
    } catch (const nibble::error&) {
    }
  }
  if (!in) return false;

  require(in->size() == pieces->size() && in->metadata() == pieces->metadata());
  for (std::size_t i = 0; i < in->size(); ++i) {
    const nibble::tensor_view& tensor = in->tensors()[i];
    const nibble::tensor_description& same = pieces->tensors()[i];
    require(tensor.name() == same.name() && tensor.file_offset_bytes() == same.file_offset_bytes() &&
            tensor.bytes().size() == same.size_bytes());
    load(*pieces, same);
  }
  try {
    use(*in);
    write_again(*in, bytes);
  } catch (const nibble::error&) {
  }
  return true;
}

}  // namespace nibble_fuzz
