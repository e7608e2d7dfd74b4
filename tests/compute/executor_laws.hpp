#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>

namespace nibble_test {

/// What every executor owes: each task once, exceptions on the caller's thread, and the bits of serial
/// work.
inline void check_executor(nibble::executor& on) {
  for (const std::size_t tasks : {0U, 1U, 2U, 3U, 64U, 1000U}) {
    std::vector<std::atomic<int>> calls(tasks);
    nibble::run_tasks(&on, tasks, [&](std::size_t task) { ++calls.at(task); });
    CHECK(std::vector<int>(calls.begin(), calls.end()) == std::vector<int>(tasks, 1));
  }
  CHECK_THROWS_AS(nibble::run_tasks(&on, 100,
                                    [](std::size_t task) {
                                      if (task % 7 == 3) throw std::runtime_error("a task");
                                    }),
                  std::runtime_error);

  const nibble::shape shape{300, 777};
  std::vector<float> values(shape.elements());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 7919U % 1000U) / 500.0F - 1.0F;
  }
  const std::vector<float> x(values.begin(), values.begin() + 5 * 777);
  for (const nibble::encoding which : {nibble::encoding::q8, nibble::encoding::q4,
                                       nibble::encoding::apr_q8, nibble::encoding::apr_q4}) {
    std::vector<std::byte> packed(static_cast<std::size_t>(*nibble::stored_bytes(which, shape)));
    auto packed_serially = packed;
    nibble::quantize(which, shape, values, packed, {.executor = &on});
    nibble::quantize(which, shape, values, packed_serially);
    CHECK(packed == packed_serially);

    const nibble::tensor_view w("w", which, shape, packed);
    std::vector<float> decoded(values.size());
    auto decoded_serially = decoded;
    nibble::dequantize(w, decoded, {.executor = &on});
    nibble::dequantize(w, decoded_serially);
    CHECK(decoded == decoded_serially);

    std::vector<float> y(5 * 300);
    auto y_serially = y;
    nibble::matmul(w, x, y, {.executor = &on});
    nibble::matmul(w, x, y_serially);
    CHECK(y == y_serially);
  }
}

}  // namespace nibble_test
