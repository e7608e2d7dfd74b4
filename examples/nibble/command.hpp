#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nibble/checkpoint/mixture.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/kernel/matmul_mode.hpp>

#include "exit_code.hpp"

/// The subcommands and what each may be told. Each returns the answer's exit code; whatever keeps it
/// from an answer is thrown: nibble::error, usage_error.
namespace nibble_command {

/// Which names tensors and metadata have in a new file (--names).
enum class output_names : unsigned char {
  automatic,    ///< GGUF's in a .gguf file of a model whose names are Hugging Face's; else as they are
  keep,         ///< as they are
  gguf,         ///< GGUF's
  hugging_face  ///< Hugging Face's, with .apr's flat keys
};

/// An encoding for the tensors that a GLOB matches.
struct tensor_encoding {
  std::string glob;
  nibble::encoding encoding;
};

/// How long pack looks for scales (--search).
enum class scale_search : unsigned char {
  fast,       ///< a few candidates
  best,       ///< until nothing better is found
  calibrated  ///< as best, and rounding makes up for its own errors, as a text says what they cost
};

/// The text that a model is run on to see the inputs of its weights: one of the three.
struct gathering_options {
  std::optional<std::string> text_file{};
  std::optional<std::string> tokens_file{};
  std::optional<std::size_t> own_tokens{};  ///< that the model says by itself
  std::size_t chunk_tokens = 0;  ///< of a piece of text_file or of the model's own; 0: its context

  /// How many of the three are given.
  [[nodiscard]] int texts() const {
    return int{text_file.has_value()} + int{tokens_file.has_value()} + int{own_tokens.has_value()};
  }
};

struct pack_options {
  std::string input{};
  std::optional<std::string> output{};         ///< otherwise beside the input, by its encoding
  std::optional<nibble::encoding> encoding{};  ///< otherwise the container's one of 8 bits
  const nibble::mixture* mix = nullptr;        ///< chooses instead of `encoding`
  std::vector<tensor_encoding> tensors{};      ///< choose before both; the last one that matches
  bool refuses_fallback = false;               ///< of another encoding where rows do not fit
  /// For all tensors of the new file; an encoding is chosen tensor by tensor within it. So too below.
  std::optional<double> target_bits{};
  std::optional<std::uint64_t> target_size_bytes{};  ///< of the whole file
  std::optional<std::string> measure_file{};  ///< text that says what errors cost, for both targets
  std::optional<std::string> plan_file{};     ///< whose record chooses as `tensors` do, before them
  output_names names = output_names::automatic;
  nibble::packing_rule rule = nibble::packing_rule::best;
  scale_search search = scale_search::fast;
  std::optional<std::string> importance_file{};
  gathering_options gathering{};         ///< for calibrated
  double damping = 0.01;                 ///< for calibrated
  bool rounds_by_importance = true;      ///< for calibrated: the columns that count most first
  std::vector<std::string> only{};       ///< globs; none: every tensor
  std::vector<std::string> keep{};       ///< globs
  std::vector<std::string> drop{};       ///< globs
  std::vector<std::string> transpose{};  ///< globs
  std::optional<std::string> metadata_file{};
  bool requantize = false;
  bool ignore_checksums = false;  ///< damaged bytes are taken as they are; so too below
  bool dry_run = false;           ///< nothing is written
  bool single = false;            ///< a first shard alone rather than its set; so too below
  bool force = false;             ///< sets may be broken by what is written; so too below
  bool json = false;
  std::uint64_t shard_size_bytes = 0;  ///< 0: one file
  bool keep_shards = false;            ///< those that the set has which is read
  unsigned threads = 1;

  /// Whether encodings are chosen for a size.
  [[nodiscard]] bool has_target() const noexcept {
    return target_bits.has_value() || target_size_bytes.has_value();
  }
};
/// Packs the matrices of a .safetensors, .gguf or .apr file, or of a set of them, into a new file or
/// several of .apr.
exit_code pack(const pack_options& options);

/// How rows of weights that `convert` writes are stored, where their encoding has both forms.
enum class row_form : unsigned char { kept, interleaved, separate };

struct convert_options {
  std::string input{};
  std::string output{};  ///< its extension says the container
  output_names names = output_names::automatic;
  row_form rows = row_form::kept;
  bool single = false;
  bool force = false;
  bool json = false;
  bool requantize = false;
  bool ignore_checksums = false;
  unsigned threads = 1;
  bool is_silent = false;  ///< for parity, which converts on its way
};
/// Rewrites a file in another container, tensors bit for bit where that can hold them.
exit_code convert(const convert_options& options);

struct inspect_options {
  std::string input{};
  std::vector<std::string> only{};  ///< globs; none: every tensor
  bool summary = false;             ///< what tensors are like, by encoding and by kind
  bool names = false;               ///< names of tensors, and nothing else
  bool single = false;
  bool json = false;
};
/// Lists what a file holds, without reading its tensors.
exit_code inspect(const inspect_options& options);

/// Places from `first` up to `end`, which is none of them.
struct index_range {
  std::uint64_t first;
  std::uint64_t end;

  [[nodiscard]] std::uint64_t size() const noexcept { return end - first; }
};
struct show_options {
  std::string input{};
  std::string tensor{};
  std::optional<index_range> rows{};     ///< otherwise the first two
  std::optional<index_range> columns{};  ///< otherwise the first sixteen
  bool single = false;
  bool json = false;
};
/// Prints values of a tensor, how they are distributed, and the scales of its blocks.
exit_code show(const show_options& options);

struct verify_options {
  std::string input{};
  bool single = false;
  bool json = false;
  std::vector<std::string> fail_on{};  ///< codes and severities beside problems, or "never"
  unsigned threads = 1;
};
/// Reads all of a file and lists what is unusual or wrong; answer_is_no where something is wrong.
exit_code verify(const verify_options& options);

struct unpack_options {
  std::string input{};
  bool single = false;
  bool force = false;
  bool json = false;
  bool ignore_checksums = false;
  std::string output{};
  nibble::encoding dtype = nibble::encoding::f32;
  unsigned threads = 1;
};
/// Decodes every tensor into a new .safetensors file.
exit_code unpack(const unpack_options& options);

struct diff_options {
  std::string reference{};
  std::string other{};
  bool single = false;
  bool json = false;
  std::optional<double> max_relative_rmse{};
  unsigned threads = 1;
};
/// Measures how far a file's values are from another's; answer_is_no where their tensors do not pair
/// up, or one of them is off by more than the bound.
exit_code diff(const diff_options& options);

struct report_options {
  std::string reference{};
  std::vector<std::string> packed{};
  std::string output{};                      ///< .html
  std::optional<std::string> tokens_file{};  ///< to score the models on; this, the next one or neither
  std::optional<std::string> text_file{};
  bool single = false;
  bool json = false;
  unsigned threads = 1;
};
/// Writes a page that shows how far the values of packed files are from those that they were packed from.
exit_code report(const report_options& options);

struct bench_options {
  std::string input{};
  double seconds = 0.25;  ///< of each measurement, at least
  bool single = false;
  bool json = false;
  unsigned threads = 1;
};
/// Measures how fast a file's matrices are decoded and multiplied by, and holds that against what the
/// machine can do; answer_is_no where a result is wrong.
exit_code bench(const bench_options& options);

struct hash_options {
  std::string input{};
  bool single = false;
  bool json = false;
  bool tensors_only = false;          ///< not the files, whose other bytes may differ
  std::optional<std::string> list{};  ///< its path, "-" for standard input
  unsigned threads = 1;
};
/// Prints SHA-256 of every tensor's stored bytes and of all of every file, or holds them against a list
/// that was printed so; answer_is_no where they differ.
exit_code hash(const hash_options& options);

struct meta_options {
  std::string input{};
  bool single = false;
  bool json = false;
  bool dry_run = false;  ///< nothing is written
  bool force = false;
  std::optional<std::string> output{};    ///< otherwise the file itself is replaced
  std::vector<std::string> set{};         ///< KEY=JSON, KEY:TYPE=JSON
  std::vector<std::string> set_string{};  ///< KEY=TEXT
  std::vector<std::string> remove{};      ///< keys
};
/// Prints a file's metadata with their types, or changes them without touching the tensors; of a set in
/// the file that holds them.
exit_code meta(const meta_options& options);

struct split_options {
  std::string input{};
  bool single = false;
  bool force = false;
  bool json = false;
  std::string output{};
  std::uint64_t shard_size_bytes = 0;
  bool ignore_checksums = false;
  unsigned threads = 1;
};
/// Writes a file's tensors, as they are stored, into several .apr files.
exit_code split(const split_options& options);

struct merge_options {
  std::string input{};
  std::string output{};
  bool ignore_checksums = false;
  bool force = false;
  bool json = false;
  unsigned threads = 1;
};
/// Writes the tensors of a set, as they are stored, into one file of the same container.
exit_code merge(const merge_options& options);

/// How the engine of run, perplexity and parity works.
struct engine_options {
  bool single = false;
  nibble::matmul_mode mode = nibble::matmul_mode::exact;
  bool repack = false;
  nibble::file_access how = nibble::file_access::mapped;
  unsigned threads = 1;
};

struct run_options {
  std::string input{};
  std::string prompt{};
  std::size_t tokens = 64;
  double temperature = 0.0;  ///< 0: the likeliest token, always
  double top_p = 1.0;
  std::uint64_t seed = 0;
  std::vector<std::uint64_t> shares{};  ///< of the model, one a rank; none: all have as much
  std::string cut{};                    ///< "rows" or "columns"; empty: nothing was said
  bool json = false;
  engine_options engine{};
};
/// Goes on with a text, on the model's stored blocks, and prints what comes as it comes.
exit_code run(const run_options& options);

struct importance_options {
  std::string input{};
  std::string output{};
  gathering_options gathering{};
  bool json = false;
  engine_options engine{};
};
/// Gathers how much each column of a model's weights counts in a text, and writes it as llama-imatrix
/// does.
exit_code importance(const importance_options& options);

struct perplexity_options {
  std::string input{};
  std::optional<std::string> tokens_file{};  ///< this or the next one
  std::optional<std::string> text_file{};
  std::optional<std::string> against{};
  bool json = false;
  engine_options engine{};
};
/// Measures how well a model foresees a text, and how far it is from another model.
exit_code perplexity(const perplexity_options& options);

struct parity_options {
  std::string f32{};
  std::string int8{};
  std::string int4{};
  std::string oracle{};
  bool json = false;
  engine_options engine{};
};
/// Holds a model and two packings of it against what an independent engine gave; answer_is_no where a
/// check fails.
exit_code parity(const parity_options& options);

}  // namespace nibble_command
