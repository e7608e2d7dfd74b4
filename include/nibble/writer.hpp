#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/block_source.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/serialise.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/serialise.hpp>
#include <nibble/format/planned_tensor.hpp>
#include <nibble/format/safetensors/serialise.hpp>
#include <nibble/format/shards.hpp>

namespace nibble {

/// How far a write has come.
struct write_progress {
  std::uint64_t written_bytes;  ///< of tensors
  std::uint64_t total_bytes;
  std::string_view tensor;  ///< the one that the latest bytes belong to
};

/// What write() may be told.
struct write_options {
  nibble::container container = nibble::container::apr;
  executor* on = nullptr;  ///< null: the calling thread
  /// Called after every part (256 KiB of f32 or a row, 1 MiB of stored bytes), by one thread at a time;
  /// false cancels. Encodings with one scale for the tensor read it up to twice before they write it;
  /// written_bytes stands still meanwhile.
  std::function<bool(const write_progress&)> progress{};
  /// Tensor bytes that one file may hold; 0: as many as there are. More than that, and an .apr plan is
  /// written as several files: NAME-00001-of-00003.apr and so on for NAME.apr.
  std::uint64_t shard_size_bytes = 0;
};

/// A plan of tensors, which write() packs and writes in one go.
///
/// Nothing is packed before write(): spans are borrowed and row sources kept until then. The same plan
/// gives the same bytes on every machine, whatever the order of add() and the executor.
class writer {
 public:
  writer() : metadata_(nlohmann::json::object()) {}

  /// The file's metadata, an object to be filled. "nibble" and "quantization" are written by the
  /// library.
  [[nodiscard]] nlohmann::json& metadata() noexcept { return metadata_; }
  [[nodiscard]] const nlohmann::json& metadata() const noexcept { return metadata_; }
  /// Number of tensors planned.
  [[nodiscard]] std::size_t size() const noexcept { return plan_.size(); }

  /// Plans a tensor to be packed as `which` from values in memory, row-major, which must live until the
  /// last write().
  ///
  /// Throws bad_name (empty, over 256 bytes, not UTF-8), duplicate_name, size_mismatch (values.size()
  /// is not shape.elements()), unsupported_encoding (no codec packs f32 into it).
  void add(encoding which, std::string name, const shape& dimensions, std::span<const float> values,
           packing_rule rule = packing_rule::best) {
    if (values.size() != dimensions.elements()) {
      refuse(error_code::size_mismatch, name, "values", std::to_string(values.size()),
             join_text({dimensions.elements(), " for shape ", dimensions.to_string()}));
    }
    planned& entry = plan(which, std::move(name), dimensions, rule);
    entry.values = values;
  }
  /// Plans a tensor to be packed from rows on demand, in memory for a few rows at a time. Throws as
  /// above.
  void add(encoding which, std::string name, const shape& dimensions, row_source rows,
           packing_rule rule = packing_rule::best) {
    if (!rows) {
      refuse(error_code::invalid_argument, name, "rows", "an empty row source", "a function");
    }
    planned& entry = plan(which, std::move(name), dimensions, rule);
    entry.rows = std::move(rows);
  }
  /// Values are borrowed, so a vector that dies before write() is refused when compiling.
  void add(encoding, std::string, const shape&, std::vector<float>&&,
           packing_rule = packing_rule::best) = delete;
  /// As above, the encoding chosen when compiling: add<nibble::q4>(...).
  template <Codec Codec>
  void add(std::string name, const shape& dimensions, std::span<const float> values,
           packing_rule rule = packing_rule::best) {
    add(Codec::encoding, std::move(name), dimensions, values, rule);
  }
  template <Codec Codec>
  void add(std::string name, const shape& dimensions, row_source rows,
           packing_rule rule = packing_rule::best) {
    add(Codec::encoding, std::move(name), dimensions, std::move(rows), rule);
  }

  template <Codec Codec>
  void add(std::string, const shape&, std::vector<float>&&, packing_rule = packing_rule::best) = delete;

  /// Plans a tensor whose bytes were packed elsewhere and are kept bit for bit; they must live until
  /// the last write(). Throws bad_name, duplicate_name, size_mismatch (bytes.size() is not what
  /// encoding and shape need).
  void add_stored(encoding which, std::string name, const shape& dimensions,
                  std::span<const std::byte> bytes) {
    const auto needed = stored_bytes(which, dimensions);
    if (needed != bytes.size()) {
      refuse(
          error_code::size_mismatch, name, "bytes", std::to_string(bytes.size()),
          join_text({bytes_text(needed), " for ", to_string(which), " of ", dimensions.to_string()}));
    }
    planned& entry = enter(which, std::move(name), dimensions);
    entry.bytes = bytes;
  }
  /// As above from blocks on demand (a block_source), in memory for 1 MiB a task. Throws bad_name,
  /// duplicate_name, invalid_argument (no source), unsupported_encoding (apr_q8, which is more than
  /// blocks).
  template <std::invocable<std::uint64_t, std::span<std::byte>> Blocks>
  void add_stored(encoding which, std::string name, const shape& dimensions, Blocks source) {
    block_source blocks(std::move(source));
    if (!blocks) {
      refuse(error_code::invalid_argument, name, "blocks", "an empty block source", "a function");
    }
    if (!describe(which).has_blocks()) {
      refuse(error_code::unsupported_encoding, name, "encoding", std::string(to_string(which)),
             "one that is stored in blocks and nothing else");
    }
    planned& entry = enter(which, std::move(name), dimensions);
    entry.blocks = std::move(blocks);
  }
  /// Plans a tensor whose dtype the table of encodings lacks, as a view that is open elsewhere has it;
  /// its bytes are kept and must live until the last write(), which refuses it as unsupported_encoding
  /// in another container than `from`. Throws bad_name, duplicate_name, invalid_argument (the view's
  /// dtype is known, or `from` is .apr, whose files of ours record an encoding for every tensor).
  ///
  /// GGUF does not say how many bytes such a tensor has: the view's, up to the next one, are a multiple
  /// of the alignment, and general.alignment has to be the old file's for ggml to find them.
  void add_unknown_dtype(container from, std::string name, const tensor_view& tensor) {
    if (tensor.has_encoding() || from == container::apr) {
      refuse(error_code::invalid_argument, name, "dtype",
             join_text({tensor.dtype_text(), " of ", to_string(from)}),
             "one of GGUF or safetensors that is not known here");
    }
    planned& entry = enter(encoding::u8, std::move(name), tensor.shape());
    entry.bytes = tensor.bytes();
    entry.tensor.size_bytes = tensor.bytes().size();
    entry.tensor.unknown_dtype =
        nibble::unknown_dtype{.container = from,
                              .id = tensor.dtype_id().value_or(0),
                              .name = tensor.dtype_id() ? "" : tensor.dtype_text()};
  }

  /// Packs and writes all tensors. The file appears under `path` when every byte of it is on the disk;
  /// on any failure what stood there before is untouched and no temporary file stays. Memory beyond the
  /// plan: about 0.5 MiB or two rows a task, and the directory.
  ///
  /// With options.shard_size_bytes, a plan of more tensor bytes becomes a set of files, each of whole
  /// tensors, in the order of their names, as many as fit; one that alone is larger has a file to
  /// itself. Each says in its metadata which part it is ("sharding"), the first holds the plan's own
  /// metadata. All are written and synced before any appears. Then the first of a set that stood there
  /// before is removed, the others are renamed into place and the first comes last, so that no set is
  /// ever part old and part new; a kill within these renames leaves one without its first file, which
  /// open_set() refuses by name. Every file of the set is open until then.
  ///
  /// What a killed write of .apr to this path left beside it, of one file or of any number of shards,
  /// is removed first; what a live writer has locked is not. Shards under their own names stay, also
  /// those of an older set of another number.
  ///
  /// Returns the paths of the files written.
  ///
  /// Throws not_representable (naming tensor, element and value), write_failed, already_being_written,
  /// bad_metadata, what the container cannot hold (unsupported_encoding, bad_name, bad_shape), what
  /// readers refuse (directory_too_large: tens of thousands of tensors without bytes, say),
  /// invalid_argument (shards of another container than .apr), cancelled, and whatever a row source or
  /// the progress callback throws.
  template <class Architecture = this_architecture>
  std::vector<std::string> write(const std::string& path, const write_options& options = {}) const {
    try {
      std::vector<std::vector<std::size_t>> shards = split_plan(options.shard_size_bytes);
      if (options.container == container::apr) remove_leftovers(path);
      if (shards.size() > 1) {
        if (options.container == container::apr) return write_set<Architecture>(shards, path, options);
        refuse(error_code::invalid_argument, {}, "shard_size_bytes",
               std::to_string(options.shard_size_bytes),
               "0, for only .apr files are written in shards");
      }
      const auto write_one = [&](auto serialiser) {
        write_as<Architecture>(std::move(serialiser), shards[0], path, options);
      };
      switch (options.container) {
        case container::apr: write_one(apr::serialiser(planned_tensors(shards[0]), metadata_)); break;
        case container::gguf: write_one(gguf::serialiser(planned_tensors(shards[0]), metadata_)); break;
        case container::safetensors:
          write_one(safetensors::serialiser(planned_tensors(shards[0]), metadata_));
          break;
      }
    } catch (const error& problem) {
      throw problem.in_file(path);
    }
    return {path};
  }

 private:
  /// A tensor and where its bytes come from: values, rows, bytes as they are, or blocks.
  struct planned {
    planned_tensor tensor;
    packing_rule rule = packing_rule::best;
    std::span<const float> values{};
    row_source rows{};
    std::optional<std::span<const std::byte>> bytes{};
    block_source blocks{};

    [[nodiscard]] bool is_stored() const noexcept { return bytes || blocks; }
  };

  [[noreturn]] static void refuse(error_code code, std::string_view tensor, std::string_view field,
                                  std::string found, std::string expected) {
    throw error(code, {.tensor = std::string(tensor),
                       .field = std::string(field),
                       .found = std::move(found),
                       .expected = std::move(expected)});
  }

  planned& enter(encoding which, std::string name, const shape& dimensions) {
    if (name.empty() || name.size() > apr::max_name_bytes) {
      refuse(error_code::bad_name, name, "name", join_text({name.size(), " bytes"}),
             join_text({"1 to ", apr::max_name_bytes}));
    }
    if (find_invalid_utf8(name) != std::string_view::npos) {
      refuse(error_code::bad_name, name, "name", "bytes that are not UTF-8", "UTF-8");
    }
    const auto size_bytes = stored_bytes(which, dimensions);
    if (!size_bytes) {
      refuse(error_code::bad_shape, name, "shape", dimensions.to_string(), "bytes below 2^64");
    }
    if (!names_.insert(name).second) {
      throw error(
          error_code::duplicate_name,
          {.tensor = std::move(name), .field = "name", .expected = "a name that is not planned yet"});
    }
    plan_.push_back({.tensor = {std::move(name), which, dimensions, *size_bytes}});
    return plan_.back();
  }

  planned& plan(encoding which, std::string name, const shape& dimensions, packing_rule rule) {
    if (!is_packable(which)) {
      refuse(error_code::unsupported_encoding, name, "encoding", std::string(to_string(which)),
             "f32, f16, bf16 or a quantized encoding to pack f32 into, or add_stored()");
    }
    planned& entry = enter(which, std::move(name), dimensions);
    entry.rule = rule;
    return entry;
  }

  /// Counts what is written and asks the callback, one thread at a time, until it has said no.
  class progress_report {
   public:
    progress_report(const std::function<bool(const write_progress&)>& callback,
                    std::uint64_t total_bytes)
        : callback_(callback), total_bytes_(total_bytes) {}

    /// Throws cancelled.
    void add(std::uint64_t bytes, std::string_view tensor) {
      if (!callback_) return;
      const std::lock_guard lock(guard_);
      written_bytes_ += bytes;
      if (!is_cancelled_) is_cancelled_ = !callback_({written_bytes_, total_bytes_, tensor});
      if (is_cancelled_) {
        throw error(error_code::cancelled, {.field = "progress callback", .found = "a no"});
      }
    }

   private:
    const std::function<bool(const write_progress&)>& callback_;
    std::uint64_t total_bytes_;
    std::uint64_t written_bytes_ = 0;
    bool is_cancelled_ = false;
    std::mutex guard_;
  };

  /// Part of a tensor that one task packs and writes.
  struct part {
    std::size_t place;  ///< of the tensor, in file order
    std::size_t chunk;
  };
  /// Whole blocks of about 1 MiB, for tensors that are packed already.
  [[nodiscard]] static std::uint64_t stored_part_bytes(encoding which) noexcept {
    constexpr std::uint64_t most = 1U << 20U;
    return most - most % describe(which).block_bytes;
  }

  /// Places in the plan, shard by shard; at least one shard. A single one is in the plan's order,
  /// several follow the names, so that the order of add() changes no byte of theirs either.
  [[nodiscard]] std::vector<std::vector<std::size_t>> split_plan(std::uint64_t shard_size_bytes) const {
    std::vector<std::size_t> places(plan_.size());
    std::iota(places.begin(), places.end(), std::size_t{0});
    const auto size_of = [&](std::size_t place) { return plan_[place].tensor.size_bytes; };
    std::vector<std::vector<std::size_t>> shards(1);
    if (shard_size_bytes != 0) {
      std::ranges::sort(places, {}, [&](std::size_t place) -> const std::string& {
        return plan_[place].tensor.name;
      });
      std::uint64_t bytes = 0;
      for (const std::size_t place : places) {
        if (!shards.back().empty() &&
            (bytes > shard_size_bytes || size_of(place) > shard_size_bytes - bytes)) {
          shards.emplace_back();
          bytes = 0;
        }
        shards.back().push_back(place);
        bytes += size_of(place);
      }
      return shards;
    }
    shards[0] = std::move(places);
    return shards;
  }

  [[nodiscard]] std::vector<planned_tensor> planned_tensors(std::span<const std::size_t> places) const {
    std::vector<planned_tensor> tensors;
    tensors.reserve(places.size());
    for (const std::size_t place : places) tensors.push_back(plan_[place].tensor);
    return tensors;
  }

  [[nodiscard]] std::uint64_t planned_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const planned& entry : plan_) sum += entry.tensor.size_bytes;
    return sum;
  }

  template <class Architecture, class Serialiser>
  void write_as(Serialiser serialiser, std::span<const std::size_t> places, const std::string& path,
                const write_options& options) const {
    atomic_file file(path, serialiser.file_bytes());
    progress_report report(options.progress, planned_bytes());
    write_file<Architecture>(serialiser, places, file, report, options.on);
    file.commit();
  }

  /// The names of a set's files, when it is written to `path`.
  [[nodiscard]] static shard_names names_of_set(const std::filesystem::path& path) {
    return {path.stem().string() + "-", path.extension().string()};
  }

  /// A write in shards that was killed left one file for each of them, and this one may have another
  /// number, or none.
  static void remove_leftovers(const std::filesystem::path& path) {
    const std::string whole = path.filename().string();
    const shard_names set = names_of_set(path);
    atomic_file::remove_leftovers(path.parent_path(), [&](const std::string& name) {
      if (name == whole) return true;
      const auto named = shard_names::from_file_name(name);
      return named && named->first.before == set.before && named->first.after == set.after;
    });
  }

  template <class Architecture, class Serialiser = apr::serialiser, class File = atomic_file,
            class Json = nlohmann::json>
  std::vector<std::string> write_set(const std::vector<std::vector<std::size_t>>& shards,
                                     const std::string& path, const write_options& options) const {
    const std::filesystem::path target(path);
    const shard_names names = names_of_set(target);
    std::vector<Serialiser> serialisers;
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const shard_position at{i, shards.size()};
      Json metadata = i == 0 ? metadata_ : Json::object();
      require_object(metadata, "metadata");
      metadata[basic_shard_record<Json>::key] =
          basic_shard_record<Json>{.at = at, .total_bytes = planned_bytes(), .pattern = names.pattern()}
              .to_json();
      serialisers.emplace_back(planned_tensors(shards[i]), std::move(metadata));
      paths.push_back((target.parent_path() / names.name_of(at)).string());
    }
    std::vector<std::unique_ptr<File>> files;
    std::vector<File*> to_commit;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      files.push_back(std::make_unique<File>(paths[i], serialisers[i].file_bytes()));
      to_commit.push_back(files.back().get());
    }
    progress_report report(options.progress, planned_bytes());
    for (std::size_t i = 0; i < shards.size(); ++i) {
      write_file<Architecture>(serialisers[i], shards[i], *files[i], report, options.on);
    }
    File::commit_set(to_commit);
    return paths;
  }

  /// Packs and writes the tensors at `places` of the plan, which `serialiser` was made of, and all that
  /// stands around them.
  template <class Architecture, class Serialiser>
  void write_file(Serialiser& serialiser, std::span<const std::size_t> places, atomic_file& file,
                  progress_report& report, executor* on) const {
    const std::span<const std::size_t> order = serialiser.order();
    const auto planned_at = [&](std::size_t place) -> const planned& {
      return plan_[places[order[place]]];
    };
    std::vector<std::optional<tensor_packer>> packers(order.size());
    std::vector<part> parts;
    for (std::size_t place = 0; place < order.size(); ++place) {
      const planned& entry = planned_at(place);
      std::size_t chunks = 0;
      if (entry.is_stored()) {
        chunks = static_cast<std::size_t>(
            divide_round_up(entry.tensor.size_bytes, stored_part_bytes(entry.tensor.encoding)));
      } else {
        const planned_tensor& tensor = entry.tensor;
        if (entry.rows) {
          packers[place].emplace(tensor.name, tensor.encoding, tensor.shape, entry.rows, entry.rule);
        } else {
          packers[place].emplace(tensor.name, tensor.encoding, tensor.shape, entry.values, entry.rule);
        }
        chunks = packers[place]->chunk_count();
      }
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) parts.push_back({place, chunk});
    }

    for (std::size_t place = 0; place < order.size(); ++place) {
      const std::string& tensor = planned_at(place).tensor.name;
      if (packers[place]) packers[place]->prepare(on, [&] { report.add(0, tensor); });
    }
    std::vector<crc32_sum> sums(parts.size());
    run_tasks(on, parts.size(), [&](std::size_t i) {
      const auto [place, chunk] = parts[i];
      const planned& entry = planned_at(place);
      std::vector<std::byte> packed;
      std::span<const std::byte> bytes;
      std::uint64_t offset = serialiser.offset_bytes(place);
      if (entry.is_stored()) {
        const std::uint64_t most = stored_part_bytes(entry.tensor.encoding);
        const std::uint64_t skipped = chunk * most;
        const auto size = static_cast<std::size_t>(std::min(entry.tensor.size_bytes - skipped, most));
        if (entry.bytes) {
          bytes = entry.bytes->subspan(static_cast<std::size_t>(skipped), size);
        } else {
          packed.resize(size);
          entry.blocks(skipped / describe(entry.tensor.encoding).block_bytes, packed);
          bytes = packed;
        }
        offset += skipped;
      } else {
        packed.resize(packers[place]->chunk_size_bytes(chunk));
        packers[place]->pack(chunk, packed);
        bytes = packed;
        offset += packers[place]->chunk_offset_bytes(chunk);
      }
      file.write_at(offset, bytes);
      sums[i] = crc32_sum(bytes);
      report.add(bytes.size(), entry.tensor.name);
    });

    std::vector<crc32_sum> tensor_sums(order.size());
    for (std::size_t i = 0; i < parts.size(); ++i) tensor_sums[parts[i].place] += sums[i];
    std::vector<std::uint32_t> crc32;
    crc32.reserve(tensor_sums.size());
    for (const crc32_sum& sum : tensor_sums) crc32.push_back(sum.value());

    const std::vector<std::byte> front = serialiser.front(crc32);
    file.write_at(0, front);
    std::array<std::byte, apr::footer_bytes> footer{};
    if constexpr (Serialiser::has_footer) {
      crc32_sum whole{std::span<const std::byte>(front)};
      for (std::size_t place = 0; place < order.size(); ++place) {
        whole += crc32_sum::of_zeros(serialiser.offset_bytes(place) - whole.size_bytes());
        whole += tensor_sums[place];
      }
      whole += crc32_sum::of_zeros(serialiser.data_end() - whole.size_bytes());
      store_number(footer, 0, whole.value());
      file.write_at(serialiser.data_end(), footer);
    }
    // What a reader would refuse never appears under the file's name.
    static_cast<void>(Serialiser::read_back(front, serialiser.file_bytes(), footer));
  }

  nlohmann::json metadata_;
  std::vector<planned> plan_;
  std::set<std::string, std::less<>> names_;
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a tensor that is open elsewhere, decoded to f32 as they are asked for. The view's bytes must
/// outlive the source; throws unsupported_encoding at once where it cannot be decoded.
template <class Architecture = this_architecture>
[[nodiscard]] row_source rows_of(const tensor_view& view) {
  require_codec(view.encoding(), view.name());
  return [view](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
    dequantize_rows(view, first_row, row_count, values);
  };
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
