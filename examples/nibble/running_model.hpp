#pragma once

#include <memory>
#include <string>
#include <utility>

#include <nibble/compute/thread_pool.hpp>
#include <nibble/kernel/matmul_mode.hpp>

#include <examples/engine/model.hpp>
#include <examples/engine/products.hpp>

#include "command.hpp"
#include "open_input.hpp"

namespace nibble_command {

/// A model that is open, with the threads that it runs on.
struct running_model {
  std::unique_ptr<nibble::thread_pool> threads;
  nibble_engine::model model;
};

/// Runs an open file's model and checks all of its weights, or where it is spread this rank's rows. Throws nibble::error, nibble_engine::contract_error.
[[nodiscard]] inline running_model start_model(nibble::reader file, const engine_options& options,
                                               const nibble_engine::spread& over = {}) {
  auto threads = std::make_unique<nibble::thread_pool>(options.threads);
  const nibble_engine::product_options products{
      .mode = options.mode,
      .repack = options.repack,
      .executor = options.threads > 1 ? threads.get() : nullptr};
  nibble_engine::model model(std::move(file), products, over);
  return {std::move(threads), std::move(model)};
}

/// Opens a model and checks all of its weights. Throws nibble::error, nibble_engine::contract_error.
[[nodiscard]] inline running_model open_model(const std::string& path, const engine_options& options) {
  return start_model(open_weights(path, options.single, options.how), options);
}

}  // namespace nibble_command
