/// nibble: packs, converts, lists, checks, unpacks, compares, splits, merges and measures tensor files.

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/version.hpp>

#include "arguments.hpp"
#include "command.hpp"
#include "interruption.hpp"
#include "standard_streams.hpp"

namespace nibble_command {
namespace {

/// A file that is read, named by its place among the arguments.
void add_input(CLI::App& to, const std::string& name, std::string& path,
               const std::string& description = "File to read") {
  to.add_option(name, path, description)->type_name("")->required();
}

void add_output(CLI::App& to, std::string& path, const std::string& type,
                const std::string& description) {
  to.add_option("-o,--output", path, description)->type_name(type)->required();
}

void add_json(CLI::App& to, bool& json) { to.add_flag("--json", json, "Print JSON"); }

/// An option that may be given several times, with one value each.
void add_repeated(CLI::App& to, const std::string& name, std::vector<std::string>& values,
                  const std::string& type, const std::string& description) {
  to.add_option(name, values, description)->type_name(type)->allow_extra_args(false);
}
void add_globs(CLI::App& to, const std::string& name, std::vector<std::string>& globs,
               const std::string& description) {
  add_repeated(to, name, globs, "GLOB", description);
}

/// An option whose value is the name of an encoding, one of `names`.
void add_encoding(CLI::App& to, const std::string& name, nibble::encoding& which,
                  const std::vector<std::string>& names, const std::string& description) {
  to.add_option_function<std::string>(
        name,
        [&which](const std::string& text) { which = nibble::encoding_from_name(text).value_or(which); },
        fmt::format("{}: {}", description, fmt::join(names, " ")))
      ->type_name("ENCODING")
      ->default_str(std::string(nibble::to_string(which)))
      ->check(CLI::IsMember(names).description(""));
}

void add_threads(CLI::App& to, unsigned& threads) {
  constexpr unsigned most = 1024;
  threads = std::clamp(std::thread::hardware_concurrency(), 1U, most);
  to.add_option("--threads", threads, "Threads to work on; one per processor unless given")
      ->type_name("N")
      ->check(CLI::Range(1U, most).description(""));
}

void add_single(CLI::App& to, bool& single) {
  to.add_flag("--single", single, "Open a shard alone, not the set that it belongs to");
}

CLI::Option& add_shard_size(CLI::App& to, std::uint64_t& bytes) {
  return *to.add_option(
                "--shard-size", bytes,
                "Write OUT-00001-of-00003.apr and so on, of at most so many bytes each: 500MB, 2GB")
              ->type_name("SIZE")
              ->transform(CLI::AsSizeValue(true).description(""))
              ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 62U).description(""));
}

CLI::App& add_pack(CLI::App& app, pack_options& options) {
  CLI::App& to = *app.add_subcommand(
      "pack", "Pack a .safetensors, .gguf or .apr file, or a set, into an .apr file");
  add_input(to, "INPUT", options.input, "File to read, or the index or any file of a set");
  add_output(to, options.output, "OUT.apr", "File to write; may be INPUT");
  add_encoding(to, "--encoding", options.encoding,
               {"q8", "q4", "apr_q8", "apr_q4", "f16", "bf16", "f32"},
               "Encoding of tensors of two or more dimensions");
  add_globs(to, "--only", options.only, "Pack these tensors, keep other matrices; may be repeated");
  add_globs(to, "--keep", options.keep, "Keep these tensors bit for bit; may be repeated");
  add_globs(to, "--drop", options.drop, "Leave these tensors out; may be repeated");
  add_globs(to, "--transpose", options.transpose,
            "Store these [inputs, outputs] matrices as [outputs, inputs]; may be repeated");
  to.add_option("--metadata", options.metadata_file, "JSON object to merge into the metadata")
      ->type_name("FILE.json");
  to.add_flag("--requantize", options.requantize, "Pack again what is quantized already");
  to.add_option_function<std::string>(
        "--packing-rule",
        [&options](const std::string& text) {
          options.rule =
              text == "reference" ? nibble::packing_rule::reference : nibble::packing_rule::best;
        },
        "best: least error; reference: the bytes of the reference .apr implementation")
      ->type_name("RULE")
      ->default_str("best")
      ->check(CLI::IsMember(std::vector<std::string>{"best", "reference"}).description(""));
  add_shard_size(to, options.shard_size_bytes);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_convert(CLI::App& app, convert_options& options) {
  CLI::App& to = *app.add_subcommand("convert", "Rewrite a file in another container, bit for bit");
  add_input(to, "INPUT", options.input);
  add_output(to, options.output, "OUT", "File to write, .apr, .gguf or .safetensors; may be INPUT");
  to.add_flag("--requantize", options.requantize,
              "Pack as q8_0 or expand to f32 what GGUF cannot hold bit for bit");
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_inspect(CLI::App& app, inspect_options& options) {
  CLI::App& to = *app.add_subcommand("inspect", "List what a file holds");
  add_input(to, "FILE", options.input);
  add_json(to, options.json);
  add_single(to, options.single);
  return to;
}

CLI::App& add_verify(CLI::App& app, verify_options& options) {
  CLI::App& to = *app.add_subcommand("verify", "Read all of a file and say what is wrong with it");
  add_input(to, "FILE", options.input);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_unpack(CLI::App& app, unpack_options& options) {
  CLI::App& to = *app.add_subcommand("unpack", "Decode a file into a .safetensors file");
  add_input(to, "FILE", options.input);
  add_output(to, options.output, "OUT.safetensors", "File to write; may be FILE");
  add_encoding(to, "--dtype", options.dtype, {"f32", "f16", "bf16"}, "Dtype to decode to");
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_diff(CLI::App& app, diff_options& options) {
  CLI::App& to = *app.add_subcommand("diff", "Measure how far the values of B are from those of A");
  add_input(to, "A", options.reference, "File to measure against");
  add_input(to, "B", options.other, "File to measure");
  add_json(to, options.json);
  to.add_option("--max-error", options.max_relative_rmse,
                "Exit with 1 if the relative RMSE of any tensor is above this")
      ->type_name("RELATIVE_RMSE")
      ->check([](const std::string& text) {
        double bound = 0.0;
        const bool is_bound =
            CLI::detail::lexical_cast(text, bound) && std::isfinite(bound) && bound >= 0;
        return is_bound ? std::string() : fmt::format("'{}' is no number from 0 on", text);
      });
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_bench(CLI::App& app, bench_options& options) {
  CLI::App& to = *app.add_subcommand("bench", "Measure decoding and products on a file's own matrices");
  add_input(to, "FILE", options.input);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_hash(CLI::App& app, hash_options& options) {
  CLI::App& to = *app.add_subcommand("hash", "Print SHA-256 of every tensor and of the whole");
  add_input(to, "FILE", options.input);
  to.add_option("--check", options.list,
                "Compare with a list that was printed before; exit with 1 if it differs")
      ->type_name("LIST");
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_meta(CLI::App& app, meta_options& options) {
  CLI::App& to = *app.add_subcommand("meta", "Print metadata, or change a file's without repacking it");
  add_input(to, "FILE", options.input);
  add_repeated(to, "--set", options.set, "KEY=JSON", "Set a key to a JSON value; may be repeated");
  add_repeated(to, "--set-string", options.set_string, "KEY=TEXT",
               "Set a key to text; may be repeated");
  add_repeated(to, "--remove", options.remove, "KEY", "Remove a key; may be repeated");
  to.add_option("-o,--output", options.output, "File to write; FILE itself unless given")
      ->type_name("OUT");
  add_single(to, options.single);
  return to;
}

CLI::App& add_split(CLI::App& app, split_options& options) {
  CLI::App& to =
      *app.add_subcommand("split", "Write a file's tensors as they are into several .apr files");
  add_input(to, "FILE", options.input);
  add_output(to, options.output, "OUT.apr", "Their name, without numbers");
  add_shard_size(to, options.shard_size_bytes).required();
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& add_merge(CLI::App& app, merge_options& options) {
  CLI::App& to = *app.add_subcommand("merge", "Write the tensors of a set as they are into one file");
  add_input(to, "SET", options.input, "Index, or any file of the set");
  add_output(to, options.output, "OUT", "File to write, of the same container");
  add_threads(to, options.threads);
  return to;
}

/// Parses the arguments and runs the subcommand that they name.
exit_code run(const std::vector<std::string>& arguments) {
  CLI::App app(
      "Quantized tensor files: pack, convert, list, check, unpack, compare, split, merge, measure.",
      "nibble");
  app.set_version_flag("--version", "nibble " NIBBLE_VERSION_STRING);
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  app.footer(
      "Exit codes: 0 fine; 1 the answer is no; 2 wrong usage; 3 a file is not what it claims to be;\n"
      "4 input or output failed.");

  pack_options to_pack;
  convert_options to_convert;
  inspect_options to_inspect;
  verify_options to_verify;
  unpack_options to_unpack;
  diff_options to_diff;
  bench_options to_bench;
  hash_options to_hash;
  meta_options to_meta;
  split_options to_split;
  merge_options to_merge;
  const CLI::App& packing = add_pack(app, to_pack);
  const CLI::App& converting = add_convert(app, to_convert);
  const CLI::App& inspecting = add_inspect(app, to_inspect);
  const CLI::App& verifying = add_verify(app, to_verify);
  const CLI::App& unpacking = add_unpack(app, to_unpack);
  const CLI::App& comparing = add_diff(app, to_diff);
  const CLI::App& hashing = add_hash(app, to_hash);
  const CLI::App& editing = add_meta(app, to_meta);
  const CLI::App& splitting = add_split(app, to_split);
  const CLI::App& merging = add_merge(app, to_merge);
  add_bench(app, to_bench);

  std::vector<const char*> words;
  for (const std::string& argument : arguments) words.push_back(argument.c_str());
  try {
    app.parse(static_cast<int>(words.size()), words.data());
  } catch (const CLI::Success& asked) {  // --help, --version
    std::ostringstream text;
    app.exit(asked, text, text);
    print_out(text.str());
    return exit_code::fine;
  } catch (const CLI::ParseError& problem) {
    if (app.get_subcommands().empty() && arguments.size() > 1 && !arguments[1].starts_with('-')) {
      throw usage_error(fmt::format(
          "'{}' is no subcommand: pack, convert, inspect, verify, unpack, diff, hash, meta, "
          "split, merge or bench",
          nibble::escape_text(arguments[1])));
    }
    throw usage_error(nibble::escape_text(problem.what()));
  }
  if (packing) return pack(to_pack);
  if (converting) return convert(to_convert);
  if (inspecting) return inspect(to_inspect);
  if (verifying) return verify(to_verify);
  if (unpacking) return unpack(to_unpack);
  if (comparing) return diff(to_diff);
  if (hashing) return hash(to_hash);
  if (editing) return meta(to_meta);
  if (splitting) return split(to_split);
  if (merging) return merge(to_merge);
  return bench(to_bench);
}

}  // namespace
}  // namespace nibble_command

int main(int argc, char** argv) {
  using nibble_command::exit_code;
  exit_code code = exit_code::input_output_failed;
  try {
    nibble_command::prepare_standard_streams();
    code = nibble_command::run(nibble_command::arguments_of(argc, argv));
  } catch (const nibble_command::usage_error& problem) {
    nibble_command::print_error(problem.what());
    code = exit_code::wrong_usage;
  } catch (const nibble::error& problem) {
    code = nibble_command::exit_code_of(problem.code());
    if (code == exit_code::interrupted) {
      nibble_command::print_error(
          fmt::format("interrupted, {} was not written", nibble::escape_text(problem.detail().file)));
      if (nibble_command::interruption::received() == SIGTERM) code = exit_code::terminated;
    } else {
      nibble_command::print_error(problem.what());
    }
  } catch (const std::bad_alloc&) {
    nibble_command::print_error("out of memory");
  } catch (const std::exception& problem) {
    nibble_command::print_error(nibble::escape_text(problem.what()));
  }
  return static_cast<int>(code);
}
