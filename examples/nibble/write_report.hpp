#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/reader.hpp>

#include "carried_metadata.hpp"
#include "schema_version.hpp"
#include "set_guard.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "write_file.hpp"

namespace nibble_command {

/// What the subcommands that write tensor files say of it, in text or as one JSON object, which
/// README describes.
class write_report {
 public:
  /// `from` was read, `paths` were written as `request` says; `losses` are what the new files do not
  /// hold as the old one did.
  write_report(const nibble::reader& from, const write_request& request,
               const std::vector<std::string>& paths, std::vector<loss> losses)
      : input_(from.name()),
        input_bytes_(from.file_bytes()),
        request_(request),
        losses_(std::move(losses)) {
    for (const std::string& path : paths) {
      const nibble::reader made(path);
      files_.push_back({path, made.file_bytes(), made.size()});
      for (const nibble::tensor_view& tensor : made) {
        elements_ += tensor.elements();
        tensor_bytes_ += tensor.size_bytes();
        ++encodings_[std::string(tensor.dtype_text())];
      }
      const bool is_over =
          request.shard_size_bytes != 0 && made.file_bytes() > request.shard_size_bytes;
      if (is_over) {
        over_.emplace_back(path, made.size() == 1 ? std::string(made.tensors()[0].name()) : "");
      }
    }
    if (request.container == nibble::container::apr) {
      left_over_ = shards_left_over(request.output, paths.size());
    }
  }

  [[nodiscard]] std::uint64_t input_bytes() const noexcept { return input_bytes_; }
  [[nodiscard]] std::uint64_t output_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const written& each : files_) sum += each.bytes;
    return sum;
  }

  /// Lines: losses, files, what to know of them; the last one sums up.
  [[nodiscard]] std::string text() const {
    std::string text;
    for (const loss& each : losses_) text += each.line();
    std::size_t tensors = 0;
    for (const written& each : files_) {
      text += fmt::format("{}: {}, {}\n", nibble::escape_text(each.path),
                          counted(each.tensors, "tensor"), counted(each.bytes, "byte"));
      tensors += each.tensors;
    }
    for (const auto& [path, tensor] : over_) {
      text += fmt::format(
          "{}: over {} bytes, for {}\n", nibble::escape_text(path), grouped(request_.shard_size_bytes),
          tensor.empty() ? std::string("its metadata are that long")
                         : fmt::format("tensor '{}' alone is as large", nibble::escape_text(tensor)));
    }
    for (const std::string& name : left_over_) {
      text += fmt::format("left over: {}, of a set of that name of another number of files\n",
                          nibble::escape_text(name));
    }
    text += fmt::format(
        "{}{}{}; {} -> {} bytes{}\n", counted(tensors, "tensor"), encodings_.empty() ? "" : ": ",
        encodings_text(), grouped(input_bytes_), grouped(output_bytes()),
        elements_ == 0 || tensor_bytes_ == 0
            ? std::string()
            : fmt::format("; {:.2f} bits a weight, packing ratio {:.3f} (f32 over that)",
                          bits_per_weight(), packing_ratio()));
    return text;
  }

  /// As README describes it, without its version.
  [[nodiscard]] nlohmann::json to_json() const {
    using nlohmann::json;
    json files = json::array();
    for (const written& each : files_) {
      files.push_back({{"file", each.path}, {"file_bytes", each.bytes}, {"tensors", each.tensors}});
    }
    json losses = json::array();
    for (const loss& each : losses_) losses.push_back({{"what", each.what}, {"why", each.why}});
    json over = json::array();
    for (const auto& [path, tensor] : over_) {
      over.push_back({{"file", path}, {"tensor", tensor.empty() ? json(nullptr) : json(tensor)}});
    }
    return {{"input", input_},
            {"input_bytes", input_bytes_},
            {"format", nibble::to_string(request_.container)},
            {"files", std::move(files)},
            {"output_bytes", output_bytes()},
            {"encodings", encodings_},
            {"packing_ratio", tensor_bytes_ == 0 ? json(nullptr) : json(packing_ratio())},
            {"bits_per_weight", elements_ == 0 ? json(nullptr) : json(bits_per_weight())},
            {"left_out", std::move(losses)},
            {"over_shard_size", std::move(over)},
            {"left_over_shards", left_over_}};
  }

  /// Prints it.
  void print(bool as_json) const {
    if (as_json) {
      print_json(schema_version::write, to_json());
    } else {
      print_out(text());
    }
  }

 private:
  struct written {
    std::string path;
    std::uint64_t bytes;
    std::size_t tensors;
  };

  [[nodiscard]] double packing_ratio() const noexcept {
    return 4.0 * static_cast<double>(elements_) / static_cast<double>(tensor_bytes_);
  }
  [[nodiscard]] double bits_per_weight() const noexcept {
    return 8.0 * static_cast<double>(tensor_bytes_) / static_cast<double>(elements_);
  }
  /// "36 q8, 11 f32".
  [[nodiscard]] std::string encodings_text() const {
    std::string text;
    for (const auto& [name, count] : encodings_) {
      text +=
          fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(count), nibble::escape_text(name));
    }
    return text;
  }

  std::string input_;
  std::uint64_t input_bytes_;
  write_request request_;
  std::vector<written> files_{};
  std::map<std::string, std::size_t> encodings_{};
  std::uint64_t elements_ = 0;
  std::uint64_t tensor_bytes_ = 0;
  std::vector<std::pair<std::string, std::string>> over_{};
  std::vector<std::string> left_over_{};
  std::vector<loss> losses_{};
};

}  // namespace nibble_command
