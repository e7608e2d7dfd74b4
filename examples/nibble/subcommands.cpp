#include "subcommands.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <nibble/checkpoint/mixture.hpp>
#include <nibble/codec/codecs.hpp>
#include <nibble/core/encoding.hpp>

#include "command.hpp"
#include "option_values.hpp"
#include "tensor_encoding_text.hpp"

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

void add_json(CLI::App& to, bool& json) { to.add_flag("-j,--json", json, "Print JSON"); }

/// An option that may be given several times, with one value each.
void add_repeated(CLI::App& to, const std::string& name, std::vector<std::string>& values,
                  const std::string& type, const std::string& description) {
  to.add_option(name, values, description)->type_name(type)->allow_extra_args(false);
}
void add_globs(CLI::App& to, const std::string& name, std::vector<std::string>& globs,
               const std::string& description) {
  add_repeated(to, name, globs, "GLOB", description);
}

/// An option whose text `set` takes; what cannot be meant it throws as usage_error.
CLI::Option& add_value(CLI::App& to, const std::string& names, const std::string& type,
                       const std::string& description,
                       const std::function<void(const std::string&)>& set) {
  return *to.add_option_function<std::string>(names, set, description)->type_name(type);
}

/// An option whose value is the name of an encoding, one of `choices`.
void add_encoding(CLI::App& to, const std::string& names, nibble::encoding& which,
                  const std::vector<std::string>& choices, const std::string& description) {
  const std::string option = names.substr(names.find("--"));
  add_value(to, names, "ENCODING", fmt::format("{}: {}", description, fmt::join(choices, " ")),
            [&which, choices, option](const std::string& text) {
              require_choice(option, text, choices);
              which = nibble::encoding_from_name(text).value_or(which);
            })
      .default_str(std::string(nibble::to_string(which)));
}

void add_threads(CLI::App& to, unsigned& threads) {
  constexpr unsigned most = 1024;
  threads = std::clamp(std::thread::hardware_concurrency(), 1U, most);
  add_value(to, "--threads", "N", "Threads to work on; one per processor unless given",
            [&threads](const std::string& text) {
              threads = static_cast<unsigned>(whole_number("--threads", text, 1, most));
            });
}

/// Which names the new file has.
void add_names(CLI::App& to, output_names& names) {
  add_value(
      to, "--names", "NAMES",
      "Names of tensors and metadata: keep; gguf, which llama.cpp reads; hf, Hugging Face's; gguf "
      "unless given where a checkpoint becomes .gguf, else keep",
      [&names](const std::string& text) {
        require_choice("--names", text, {"keep", "gguf", "hf"});
        names = text == "keep"   ? output_names::keep
                : text == "gguf" ? output_names::gguf
                                 : output_names::hugging_face;
      });
}

void add_single(CLI::App& to, bool& single) {
  to.add_flag("--single", single, "Open a shard alone, not the set that it belongs to");
}

void add_force(CLI::App& to, bool& force) {
  to.add_flag("--force", force, "Write onto the name of a shard, though its set then no longer opens");
}

void add_ignore_checksums(CLI::App& to, bool& ignore) {
  to.add_flag("--ignore-checksums", ignore,
              "Take tensors as they are whose bytes are not those that their checksums are of");
}

CLI::Option& add_shard_size(CLI::App& to, std::uint64_t& bytes) {
  return add_value(
      to, "--shard-size", "SIZE",
      "Write OUT-00001-of-00003.apr and so on, each file, header and all, of at most so many bytes, "
      "but "
      "for a tensor that is larger, which is alone in its file and named: 800, 500MB, 1.5GB, 2GiB",
      [&bytes](const std::string& text) { bytes = size_in_bytes("--shard-size", text); });
}

/// For what size pack chooses encodings.
void add_targets(CLI::App& to, pack_options& options) {
  add_value(to, "--target-bits", "BITS",
            "Choose encodings tensor by tensor, for the least error in so many bits a weight, of all "
            "tensors: 4.8",
            [&options](const std::string& text) {
              options.target_bits = number_from_zero("--target-bits", text);
            });
  add_value(to, "--target-size", "SIZE",
            "As --target-bits, in a file of so many bytes, header and all: 90MB, 1.5GiB",
            [&options](const std::string& text) {
              options.target_size_bytes = size_in_bytes("--target-size", text);
            });
#if defined(NIBBLE_WITH_ENGINE)
  to.add_option(
        "--measure", options.measure_file,
        "Text, or lists of token ids in a .json file, that says what errors cost: each tensor is "
        "rounded alone, and what the model says compared")
      ->type_name("FILE");
#endif
  to.add_option("--plan", options.plan_file,
                "Encodings as a --target chose them for this packed file; --tensor goes before")
      ->type_name("FILE");
}

/// How pack chooses encodings.
void add_choices_of_encodings(CLI::App& to, pack_options& options) {
  const std::vector<std::string> choices = names_of_packable_encodings();
  add_value(to, "-e,--encoding", "ENCODING",
            fmt::format(
                "Encoding of tensors of two or more dimensions; unless given q8, in .gguf q8_0. q8 and "
                "q4 are nibble's (q8_r8 and q4_r8 with rows side by side), apr_q8 and apr_q4 are read "
                "by every program that reads .apr, the others "
                "are ggml's: {}",
                fmt::join(choices, " ")),
            [&options, choices](const std::string& given) {
              const std::string text = in_lower_case(given);
              if (nibble::find_mixture(text) != nullptr && !nibble::encoding_from_name(text)) {
                throw usage_error(
                    fmt::format("--encoding {}: is a mixture of encodings: --mix {}", given, text));
              }
              require_choice("--encoding", text, choices);
              options.encoding = nibble::encoding_from_name(text);
            });
  std::vector<std::string> mixtures;
  for (const nibble::mixture& each : nibble::mixtures) mixtures.emplace_back(each.name);
  add_value(
      to, "--mix", "NAME",
      fmt::format("Encodings tensor by tensor as llama-quantize chooses them; -o OUT.gguf writes a "
                  "file that llama.cpp reads: {}",
                  fmt::join(mixtures, " ")),
      [&options, mixtures](const std::string& given) {
        const std::string text = in_lower_case(given);
        require_choice("--mix", text, mixtures);
        options.mix = nibble::find_mixture(text);
      });
  to.add_option_function<std::vector<std::string>>(
        "--tensor",
        [&options](const std::vector<std::string>& texts) {
          for (const std::string& text : texts) {
            options.tensors.push_back(tensor_encoding_of("--tensor", text));
          }
        },
        "Pack the tensors that GLOB matches as ENCODING; may be repeated, the last match counts")
      ->type_name("GLOB=ENCODING")
      ->allow_extra_args(false);
  to.add_flag(
      "--no-fallback", options.refuses_fallback,
      "Refuse a tensor whose rows do not fit its encoding's blocks, rather than take another encoding");
  add_targets(to, options);
}

#if defined(NIBBLE_WITH_ENGINE)
/// The text that inputs of weights are gathered from.
void add_gathering(CLI::App& to, gathering_options& options, const std::string& why) {
  to.add_option("--text", options.text_file, fmt::format("Text to run the model on{}", why))
      ->type_name("FILE");
  to.add_option(
        "--tokens", options.tokens_file,
        fmt::format("JSON lists of token ids to run the model on{}, alone or as \"calibration\"", why))
      ->type_name("FILE.json");
  constexpr std::uint64_t most_tokens = 1U << 20U;
  add_value(
      to, "--own-text", "N",
      fmt::format("Run the model on N tokens that it says by itself{}, where no text is at hand", why),
      [&options](const std::string& text) {
        options.own_tokens = static_cast<std::size_t>(whole_number("--own-text", text, 1, most_tokens));
      });
  add_value(
      to, "--chunk", "N",
      "Tokens of each piece of --text, or of --own-text at most; the model's context unless given",
      [&options](const std::string& text) {
        options.chunk_tokens = static_cast<std::size_t>(whole_number("--chunk", text, 1, most_tokens));
      });
}
#endif

/// How pack looks for scales.
void add_search(CLI::App& to, pack_options& options) {
  add_value(to, "--search", "SEARCH",
            "How to look for scales: fast; best, slower; calibrated: best, and codes that make up for "
            "each other's errors in the products that a text asks for",
            [&options](const std::string& text) {
              require_choice("--search", text, {"fast", "best", "calibrated"});
              options.search = text == "fast"   ? scale_search::fast
                               : text == "best" ? scale_search::best
                                                : scale_search::calibrated;
            })
      .default_str("fast");
  to.add_option("--importance", options.importance_file,
                "Importance of columns, of llama-imatrix or of nibble importance, by which errors are "
                "weighted")
      ->type_name("FILE");
#if defined(NIBBLE_WITH_CALIBRATION)
  add_gathering(to, options.gathering, " for --search calibrated");
  add_value(
      to, "--damping", "SHARE",
      "For --search calibrated: how far columns count alike whatever the text says, as a share of "
      "what they count on average",
      [&options](const std::string& text) { options.damping = number_from_zero("--damping", text); })
      .default_str("0.01");
  add_value(to, "--order", "ORDER",
            "For --search calibrated: round columns by importance, those that count most first, or as "
            "stored",
            [&options](const std::string& text) {
              require_choice("--order", text, {"importance", "stored"});
              options.rounds_by_importance = text == "importance";
            })
      .default_str("importance");
#endif
}

CLI::App& describe_pack(CLI::App& app, pack_options& options) {
  CLI::App& to =
      *app.add_subcommand("pack", "Pack a .safetensors, .gguf or .apr file, a set or a model's folder");
  add_input(to, "INPUT", options.input,
            "File to read, the index or any file of a set, or a model's folder");
  to.add_option("-o,--output", options.output,
                "File to write, .apr, .gguf or .safetensors; may be INPUT; unless given, "
                "INPUT-ENCODING.apr beside INPUT")
      ->type_name("OUT");
  add_choices_of_encodings(to, options);
  add_globs(to, "--only", options.only,
            "Pack these tensors, keep other matrices; GLOB is a whole name in which * is any text, as "
            "in '*v_proj*'; "
            "may be repeated");
  add_globs(to, "--keep", options.keep, "Keep these tensors bit for bit; may be repeated");
  add_globs(to, "--drop", options.drop, "Leave these tensors out; may be repeated");
  add_globs(to, "--transpose", options.transpose,
            "Store these [inputs, outputs] matrices as [outputs, inputs]; may be repeated");
  add_names(to, options.names);
  to.add_option("--metadata", options.metadata_file,
                "JSON object to merge into the metadata; - for standard input")
      ->type_name("FILE.json");
  to.add_flag("--requantize", options.requantize, "Pack again what is quantized already");
  add_ignore_checksums(to, options.ignore_checksums);
  add_value(to, "--packing-rule", "RULE",
            "best: least error; reference: the bytes of the reference .apr implementation",
            [&options](const std::string& text) {
              require_choice("--packing-rule", text, {"best", "reference"});
              options.rule =
                  text == "reference" ? nibble::packing_rule::reference : nibble::packing_rule::best;
            })
      .default_str("best");
  add_search(to, options);
  add_shard_size(to, options.shard_size_bytes);
  to.add_flag("--keep-shards", options.keep_shards,
              "Write a set again as a set, tensors parted as they are");
  to.add_flag("--dry-run", options.dry_run, "Print what would be written, tensor by tensor");
  add_force(to, options.force);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_convert(CLI::App& app, convert_options& options) {
  CLI::App& to = *app.add_subcommand("convert", "Rewrite a file in another container, bit for bit");
  add_input(to, "INPUT", options.input);
  add_output(to, options.output, "OUT", "File to write, .apr, .gguf or .safetensors; may be INPUT");
  add_names(to, options.names);
  add_value(to, "--rows", "FORM",
            "interleaved: matrices of q4 and q8 as q4_r8 and q8_r8; separate: the other way round",
            [&options](const std::string& text) {
              require_choice("--rows", text, {"interleaved", "separate"});
              options.rows = text == "separate" ? row_form::separate : row_form::interleaved;
            });
  to.add_flag("--requantize", options.requantize,
              "Pack as q8_0 or expand to f32 what GGUF cannot hold bit for bit");
  add_ignore_checksums(to, options.ignore_checksums);
  add_force(to, options.force);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_inspect(CLI::App& app, inspect_options& options) {
  CLI::App& to = *app.add_subcommand("inspect", "List what a file holds");
  add_input(to, "FILE", options.input);
  add_globs(to, "--only", options.only,
            "List these tensors; GLOB is a whole name in which * is any text, as in '*norm*'; may be "
            "repeated");
  to.add_flag("--names", options.names,
              "Print the names of the tensors, a line each, and nothing else");
  to.add_flag(
      "--summary", options.summary,
      "Print sums by encoding and by kind of tensor, a line a kind, rather than a line a tensor");
  add_json(to, options.json);
  add_single(to, options.single);
  return to;
}

CLI::App& describe_show(CLI::App& app, show_options& options) {
  CLI::App& to = *app.add_subcommand("show", "Print values of a tensor, their spread and its scales");
  add_input(to, "FILE", options.input);
  add_input(to, "TENSOR", options.tensor, "Name of the tensor");
  const auto add_range = [&](const std::string& name, std::optional<index_range>& range,
                             const std::string& description) {
    add_value(to, name, "FROM:TO", description, [&range, name](const std::string& text) {
      const std::size_t colon = text.find(':');
      constexpr std::uint64_t most = std::uint64_t{1} << 62U;
      if (colon == std::string::npos) {
        throw usage_error(
            fmt::format("{} {}: FROM:TO is expected, such as 5:6", name, nibble::escape_text(text)));
      }
      const std::string end = text.substr(colon + 1);
      range = {whole_number(name, text.substr(0, colon), 0, most), whole_number(name, end, 1, most)};
    });
  };
  add_range(
      "--rows", options.rows,
      "Rows to print, from FROM on, counted from 0, to the one before TO; the first two unless given");
  add_range("--columns", options.columns, "Columns of them; the first sixteen unless given");
  add_json(to, options.json);
  add_single(to, options.single);
  return to;
}

CLI::App& describe_verify(CLI::App& app, verify_options& options) {
  CLI::App& to = *app.add_subcommand("verify", "Read all of a file and say what is wrong with it");
  add_input(to, "FILE", options.input);
  add_json(to, options.json);
  add_repeated(
      to, "--fail-on", options.fail_on, "WHAT",
      "Exit with 1 on these findings, too, beside problems: note (any), or a code such as all_zeros; "
      "never: exit with 0 whatever is found; may be repeated");
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_unpack(CLI::App& app, unpack_options& options) {
  CLI::App& to = *app.add_subcommand("unpack", "Decode a file into a .safetensors file");
  add_input(to, "FILE", options.input);
  add_output(to, options.output, "OUT.safetensors", "File to write; may be FILE");
  add_encoding(to, "--dtype", options.dtype, {"f32", "f16", "bf16"}, "Dtype to decode to");
  add_ignore_checksums(to, options.ignore_checksums);
  add_force(to, options.force);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_diff(CLI::App& app, diff_options& options) {
  CLI::App& to = *app.add_subcommand("diff", "Measure how far the values of B are from those of A");
  add_input(to, "A", options.reference, "File to measure against");
  add_input(to, "B", options.other, "File to measure");
  add_json(to, options.json);
  add_value(to, "--max-error", "RELATIVE_RMSE",
            "Exit with 1 if the relative RMSE of any tensor is above this",
            [&options](const std::string& text) {
              options.max_relative_rmse = number_from_zero("--max-error", text);
            });
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_report(CLI::App& app, report_options& options) {
  CLI::App& to = *app.add_subcommand("report", "Write a page that shows what packing a model cost");
  add_input(to, "MODEL", options.reference, "File, set or folder to measure against");
  to.add_option("PACKED", options.packed, "Files to measure, each packed from MODEL")
      ->type_name("")
      ->required();
  add_output(to, options.output, "OUT.html", "Page to write, which needs no other file and no network");
#if defined(NIBBLE_WITH_ENGINE)
  to.add_option("--tokens", options.tokens_file,
                "JSON lists of token ids to score MODEL and each PACKED on")
      ->type_name("FILE.json");
  to.add_option("--text", options.text_file,
                "Text to score them on in windows of the model's context, - for standard input")
      ->type_name("FILE");
#endif
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_bench(CLI::App& app, bench_options& options) {
  CLI::App& to = *app.add_subcommand("bench", "Measure decoding and products on a file's own matrices");
  add_input(to, "FILE", options.input);
  add_value(
      to, "--seconds", "S", "Repeat each measurement for as long, and twice at least",
      [&options](const std::string& text) { options.seconds = number_from_zero("--seconds", text); })
      .default_str("0.25");
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_hash(CLI::App& app, hash_options& options) {
  CLI::App& to = *app.add_subcommand("hash", "Print SHA-256 of every tensor and of the whole");
  add_input(to, "FILE", options.input);
  to.add_option("--check", options.list,
                "Compare with a list that was printed before, - for standard input; exit with 1 if it "
                "differs")
      ->type_name("LIST");
  to.add_flag("--tensors-only", options.tensors_only,
              "Leave the files out, of which a set and a single one have others");
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_meta(CLI::App& app, meta_options& options) {
  CLI::App& to = *app.add_subcommand("meta", "Print metadata, or change a file's without repacking it");
  add_input(to, "FILE", options.input);
  add_repeated(
      to, "--set", options.set, "KEY=JSON",
      "Set a key to a value of the type that it has; KEY:TYPE=JSON changes that (u32 f32 bool str "
      "[u32] ...); may be repeated");
  add_repeated(to, "--set-string", options.set_string, "KEY=TEXT",
               "Set a key to text; may be repeated");
  add_repeated(to, "--remove", options.remove, "KEY", "Remove a key; may be repeated");
  to.add_flag("--dry-run", options.dry_run, "Say what would change, and write nothing");
  to.add_option("-o,--output", options.output, "File to write; FILE itself unless given")
      ->type_name("OUT");
  add_force(to, options.force);
  add_json(to, options.json);
  add_single(to, options.single);
  return to;
}

CLI::App& describe_split(CLI::App& app, split_options& options) {
  CLI::App& to =
      *app.add_subcommand("split", "Write a file's tensors as they are into several .apr files");
  add_input(to, "FILE", options.input);
  add_output(to, options.output, "OUT.apr", "Their name, without numbers");
  add_shard_size(to, options.shard_size_bytes).required();
  add_ignore_checksums(to, options.ignore_checksums);
  add_force(to, options.force);
  add_json(to, options.json);
  add_single(to, options.single);
  add_threads(to, options.threads);
  return to;
}

CLI::App& describe_merge(CLI::App& app, merge_options& options) {
  CLI::App& to = *app.add_subcommand("merge", "Write the tensors of a set as they are into one file");
  add_input(to, "SET", options.input, "Index, or any file of the set");
  add_output(to, options.output, "OUT", "File to write, of the same container");
  add_ignore_checksums(to, options.ignore_checksums);
  add_force(to, options.force);
  add_json(to, options.json);
  add_threads(to, options.threads);
  return to;
}

#if defined(NIBBLE_WITH_ENGINE)

void add_engine(CLI::App& to, engine_options& options) {
  add_value(
      to, "--mode", "MODE",
      "How activations are multiplied: exact as f32; int16 nearly so, at more than twice the speed; "
      "int8 faster still",
      [&options](const std::string& text) {
        require_choice("--mode", text, {"exact", "int16", "int8"});
        for (const auto mode : {nibble::matmul_mode::int16, nibble::matmul_mode::int8}) {
          if (text == nibble::to_string(mode)) options.mode = mode;
        }
      })
      .default_str("exact");
  to.add_flag("--repack", options.repack,
              "Copy weights into the order that int16 and int8 like best; takes memory");
  to.add_flag_callback(
      "--in-memory", [&options] { options.how = nibble::file_access::read; },
      "Read the model instead of mapping it: takes memory and a moment more to open, and less for a "
      "token");
  add_single(to, options.single);
  add_threads(to, options.threads);
}

CLI::App& describe_run(CLI::App& app, run_options& options) {
  CLI::App& to = *app.add_subcommand("run", "Go on with a text, multiplying by the packed weights");
  add_input(to, "MODEL", options.input, "File, set or checkpoint folder with its tokenizer");
  to.add_option("-p,--prompt", options.prompt, "Text to go on with")->type_name("TEXT")->required();
  constexpr std::uint64_t most_tokens = 1U << 20U;
  add_value(to, "-n,--tokens", "N",
            "Tokens to add at most; fewer where the model ends the text or its context is full",
            [&options](const std::string& text) {
              options.tokens = static_cast<std::size_t>(whole_number("--tokens", text, 1, most_tokens));
            })
      .default_str(std::to_string(options.tokens));
  add_value(to, "--temperature", "T",
            "Divide logits by this before choosing; 0: the likeliest token, always",
            [&options](const std::string& text) {
              options.temperature = number_from_zero("--temperature", text);
            })
      .default_str("0");
  add_value(to, "--top-p", "P",
            "Choose among the likeliest tokens that together have this probability, 0 to 1",
            [&options](const std::string& text) {
              options.top_p = number_from_zero("--top-p", text);
              if (options.top_p > 1.0) throw usage_error("--top-p " + text + ": at most 1 is expected");
            })
      .default_str("1");
  add_value(to, "--seed", "S", "Seed of the choice: the same seed and mode, the same text",
            [&options](const std::string& text) {
              options.seed = whole_number("--seed", text, 0, std::numeric_limits<std::uint64_t>::max());
            })
      .default_str("0");
  add_value(to, "--shares", "N,N...",
            "How much of the model each rank has, where mpirun -n R spreads it over R; as much as the "
            "others unless given",
            [&options](const std::string& text) { options.shares = share_list("--shares", text); });
  add_value(
      to, "--cut", "rows|columns",
      "How ranks share the weights that end a block's halves: rows give one rank's tokens, bit for "
      "bit; columns take half the messages, and differ by rounding",
      [&options](const std::string& text) {
        require_choice("--cut", text, {"rows", "columns"});
        options.cut = text;
      })
      .default_str("rows");
  add_json(to, options.json);
  add_engine(to, options.engine);
  return to;
}

CLI::App& describe_perplexity(CLI::App& app, perplexity_options& options) {
  CLI::App& to = *app.add_subcommand("perplexity",
                                     "Measure how well a model foresees a text, and against another");
  add_input(to, "MODEL", options.input, "File, set or checkpoint folder");
  to.add_option("--tokens", options.tokens_file, "JSON lists of token ids to score")
      ->type_name("FILE.json");
  to.add_option("--text", options.text_file,
                "Text to score in windows of the model's context, - for standard input")
      ->type_name("FILE");
  to.add_option("--against", options.against,
                "Also measure how far MODEL's probabilities are from this model's")
      ->type_name("MODEL");
  add_json(to, options.json);
  add_engine(to, options.engine);
  return to;
}

CLI::App& describe_importance(CLI::App& app, importance_options& options) {
  CLI::App& to = *app.add_subcommand(
      "importance", "Gather how much the columns of a model's weights count in a text");
  add_input(to, "MODEL", options.input, "File, set or checkpoint folder");
  add_output(to, options.output, "OUT.gguf",
             "File to write, for pack --importance and llama-quantize --imatrix");
  add_gathering(to, options.gathering, "");
  add_json(to, options.json);
  add_engine(to, options.engine);
  return to;
}

CLI::App& describe_parity(CLI::App& app, parity_options& options) {
  CLI::App& to = *app.add_subcommand(
      "parity", "Hold a model and two packings of it against what an independent engine gave");
  add_input(to, "F32", options.f32, "The model unpacked");
  add_input(to, "INT8", options.int8, "The model packed in 8 bits");
  add_input(to, "INT4", options.int4, "The model packed in 4 bits");
  to.add_option("--oracle", options.oracle, "Prompts, tokens and texts of the independent engine")
      ->type_name("FILE.json")
      ->required();
  add_json(to, options.json);
  add_engine(to, options.engine);
  return to;
}

#endif

/// Joins what describes a subcommand to the parser and what runs it with the options parsed.
template <class Options>
subcommand make_subcommand(CLI::App& app, CLI::App& (*describe)(CLI::App&, Options&),
                           exit_code (*run)(const Options&)) {
  const auto options = std::make_shared<Options>();
  CLI::App& parser = describe(app, *options);
  return {&parser, [options, run] { return run(*options); }};
}

}  // namespace

std::vector<subcommand> add_subcommands(CLI::App& app) {
  return {
    make_subcommand(app, describe_pack, pack), make_subcommand(app, describe_convert, convert),
        make_subcommand(app, describe_inspect, inspect), make_subcommand(app, describe_show, show),
        make_subcommand(app, describe_verify, verify), make_subcommand(app, describe_unpack, unpack),
        make_subcommand(app, describe_diff, diff), make_subcommand(app, describe_report, report),
        make_subcommand(app, describe_hash, hash), make_subcommand(app, describe_meta, meta),
        make_subcommand(app, describe_split, split), make_subcommand(app, describe_merge, merge),
        make_subcommand(app, describe_bench, bench),
#if defined(NIBBLE_WITH_ENGINE)
        make_subcommand(app, describe_run, run), make_subcommand(app, describe_perplexity, perplexity),
        make_subcommand(app, describe_importance, importance),
        make_subcommand(app, describe_parity, parity),
#endif
  };
}

}  // namespace nibble_command
