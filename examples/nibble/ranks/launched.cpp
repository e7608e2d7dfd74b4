// run_on_ranks() of a build with MPI.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>

#include <examples/engine/file_fingerprint.hpp>
#include <examples/engine/mpi_group.hpp>

#include "../failure.hpp"
#include "../interruption.hpp"
#include "../open_input.hpp"
#include "../resident_bytes.hpp"
#include "../running_model.hpp"
#include "../text_run.hpp"

namespace nibble_command {
namespace {

using nibble_engine::mpi_group;

/// What all ranks know to have gone wrong on one of them, and end with.
struct agreed_failure {
  failure what;
};

std::string name_rank(std::size_t rank, std::size_t size, std::string_view message) {
  return fmt::format("rank {} of {}: {}", rank, size, message);
}

/// Does what may fail on one rank and not on another, so that all go on or none: throws agreed_failure on
/// all of them where it threw on any.
void agree(mpi_group& group, const std::function<void()>& work) {
  failure own;
  try {
    work();
  } catch (...) {
    own = current_failure();
  }
  const std::vector<int> codes = nibble_engine::gather_one(group, static_cast<int>(own.code));
  if (std::all_of(codes.begin(), codes.end(), [](int code) { return code == 0; })) return;
  const auto messages = nibble_engine::gather_lists(group, std::span<const char>(own.message));
  std::size_t rank = 0;
  while (codes[rank] == 0) ++rank;
  throw agreed_failure{{static_cast<exit_code>(codes[rank]),
                        name_rank(rank, group.size(), {messages[rank].data(), messages[rank].size()})}};
}

/// Throws agreed_failure, on all ranks, unless all have what rank 0 has.
void require_same(mpi_group& group, std::uint64_t own, const std::string& file, std::string_view what) {
  const std::vector<std::uint64_t> hashes = nibble_engine::gather_one(group, own);
  agree(group, [&] {
    if (own == hashes[0]) return;
    throw nibble::error(nibble::error_code::bad_index,
                        {.file = file,
                         .field = std::string(what),
                         .found = fmt::format("a hash of {:016x}", own),
                         .expected = fmt::format("{:016x}, as rank 0 has", hashes[0])});
  });
}

/// A hash of the options that all ranks have to be given alike.
std::uint64_t hash_of(const run_options& options) {
  const std::string text =
      fmt::format("{} {} {} {} {}", nibble::to_string(options.engine.mode), options.engine.repack,
                  options.engine.single, fmt::join(options.shares, ","), options.cut);
  return std::hash<std::string>{}(text);
}

nibble_engine::final_cut cut_of(const run_options& options) {
  return options.cut == "columns" ? nibble_engine::final_cut::columns : nibble_engine::final_cut::rows;
}

/// What a rank did, as all ranks are told.
struct rank_account {
  std::uint64_t weight_bytes;
  std::uint64_t touched_bytes;
  std::uint64_t messages;
  std::uint64_t message_bytes;
};

nlohmann::json accounts_of(mpi_group& group, nibble_engine::model& model) {
  const nibble_engine::rank_traffic traffic = group.traffic();
  std::error_code ignored;
  std::uint64_t touched = 0;
  const auto add = [&](const nibble::reader& file) {
    const auto path = std::filesystem::canonical(nibble::path_of_text(file.name()), ignored);
    if (!ignored) touched += resident_bytes_of(nibble::text_of_path(path)).value_or(0);
  };
  add(model.file());
  for (const nibble::reader& shard : model.file().shards()) add(shard);
  const rank_account own{model.decoder().weight_bytes(), touched, traffic.messages, traffic.bytes};
  nlohmann::json all = nlohmann::json::array();
  for (const rank_account& each : nibble_engine::gather_one(group, own)) {
    all.push_back({{"weight_bytes", each.weight_bytes},
                   {"touched_file_bytes", each.touched_bytes},
                   {"messages", each.messages},
                   {"message_bytes", each.message_bytes}});
  }
  return {{"ranks", all}};
}

exit_code run_spread(mpi_group& group, const run_options& options) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<nibble::reader> file;
  std::optional<running_model> running;
  const bool leads = group.rank() == 0;
  agree(group, [&] {
    if (!options.shares.empty() && options.shares.size() != group.size()) {
      throw usage_error(fmt::format("--shares {}: {} numbers are expected, one a rank",
                                    fmt::join(options.shares, ","), group.size()));
    }
    file.emplace(open_weights(options.input, options.engine.single, options.engine.how));
  });
  require_same(group, hash_of(options), options.input, "options");
  require_same(group, nibble_engine::fingerprint_of(*file), options.input, "index and checksums");
  agree(group, [&] {
    running.emplace(
        start_model(std::move(*file), options.engine, {&group, options.shares, cut_of(options)}));
    if (leads) static_cast<void>(running->model.text());
  });
  nibble_engine::model& model = running->model;
  agree(group, [&] { model.decoder().check_zeros(); });
  const double load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!leads) {
    model.decoder().follow();
    static_cast<void>(accounts_of(group, model));
    return exit_code::fine;
  }
  return go_on(options, model, load_seconds, [&] {
    model.decoder().dismiss();
    return accounts_of(group, model);
  });
}

}  // namespace

std::optional<exit_code> run_on_ranks(const run_options& options) {
  if (!mpi_group::is_launched()) {
    const std::string given = ranks_option_of(options);
    if (given.empty()) return std::nullopt;
    throw usage_error(fmt::format("{}: mpirun -n R starts the ranks that share the model", given));
  }
  const interruption ends_the_run;
  const auto end_without = [&options](const mpi_group::loss& lost) {
    if (lost.is_mine_to_say) {
      print_error(fmt::format(
          "{}: the run ended, for {} is gone", nibble::escape_text(options.input),
          lost.process.empty()
              ? std::string("a rank of another host, or what started the ranks,")
              : fmt::format("rank {}, {}, which had a part of the file,", lost.rank, lost.process)));
    }
    std::_Exit(static_cast<int>(exit_code::input_output_failed));
  };
  mpi_group group([] { return interruption::received() == SIGTERM; }, end_without);
  try {
    return run_spread(group, options);
  } catch (const agreed_failure& problem) {
    if (group.rank() == 0 && !problem.what.message.empty()) print_error(problem.what.message);
    return problem.what.code;
  } catch (...) {
    // The others wait for this rank's next message.
    const failure problem = current_failure();
    if (!problem.message.empty()) {
      print_error(name_rank(group.rank(), group.size(), problem.message));
    }
    group.abort(static_cast<int>(problem.code));
  }
}

}  // namespace nibble_command
