#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>

#include "exit_code.hpp"

/// The subcommands and what each may be told. Each returns the answer's exit code; whatever keeps it
/// from an answer is thrown: nibble::error, usage_error.
namespace nibble_command {

struct pack_options {
  std::string input{};
  std::string output{};
  nibble::encoding encoding = nibble::encoding::q8;
  nibble::packing_rule rule = nibble::packing_rule::best;
  std::vector<std::string> only{};       ///< globs; none: every tensor
  std::vector<std::string> keep{};       ///< globs
  std::vector<std::string> drop{};       ///< globs
  std::vector<std::string> transpose{};  ///< globs
  std::optional<std::string> metadata_file{};
  bool requantize = false;
  unsigned threads = 1;
};
/// Packs the matrices of a .safetensors, .gguf or .apr file into a new .apr file.
exit_code pack(const pack_options& options);

struct convert_options {
  std::string input{};
  std::string output{};  ///< its extension says the container
  bool requantize = false;
  unsigned threads = 1;
};
/// Rewrites a file in another container, tensors bit for bit where that can hold them.
exit_code convert(const convert_options& options);

struct inspect_options {
  std::string input{};
  bool json = false;
};
/// Lists what a file holds, without reading its tensors.
exit_code inspect(const inspect_options& options);

struct verify_options {
  std::string input{};
  bool json = false;
  unsigned threads = 1;
};
/// Reads all of a file and lists what is unusual or wrong; answer_is_no where something is wrong.
exit_code verify(const verify_options& options);

struct unpack_options {
  std::string input{};
  std::string output{};
  nibble::encoding dtype = nibble::encoding::f32;
  unsigned threads = 1;
};
/// Decodes every tensor into a new .safetensors file.
exit_code unpack(const unpack_options& options);

struct diff_options {
  std::string reference{};
  std::string other{};
  bool json = false;
  std::optional<double> max_relative_rmse{};
  unsigned threads = 1;
};
/// Measures how far a file's values are from another's; answer_is_no where their tensors do not pair
/// up, or one of them is off by more than the bound.
exit_code diff(const diff_options& options);

struct bench_options {
  std::string input{};
  bool json = false;
  unsigned threads = 1;
};
/// Measures how fast a file's matrices are decoded and multiplied by, and holds that against what the
/// machine can do; answer_is_no where a result is wrong.
exit_code bench(const bench_options& options);

}  // namespace nibble_command
