#include <nibble/compute/multiply.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <nibble/compute/matmul.hpp>

#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
using nibble::encoding;
using nibble::matmul_mode;
using nibble::tensor_view;

/// Notes how many tasks it is given at a time.
class noting_executor final : public nibble::executor {
 public:
  void run(std::size_t tasks, nibble::task_reference body) override {
    runs.push_back(tasks);
    for (std::size_t task = tasks; task > 0; --task) body(task - 1);
  }
  std::vector<std::size_t> runs;
};

TEST_CASE("tasks cover each row of each weight once, in one run and in whole panels but for the last",
          "[multiply]") {
  // Nothing is multiplied: the bytes are never read, and so never become memory.
  constexpr std::size_t most_rows = 4096, most_cols = 100'000;
  const auto unread = std::make_unique_for_overwrite<std::byte[]>((most_rows + 5) * most_cols);
  for (const std::size_t n : {std::size_t{1}, std::size_t{31}, std::size_t{32}, std::size_t{33},
                              std::size_t{1000}, most_rows}) {
    for (const std::size_t k : {std::size_t{0}, std::size_t{1}, std::size_t{512}, most_cols}) {
      // The second weight belongs to another plan, and the third one has no rows.
      const std::array<std::size_t, 4> outputs{n, 7, 0, n + 5};
      std::array<tensor_view, 4> weights;
      std::array<kernel::planned_product, 4> planned{};
      for (std::size_t i = 0; i < 4; ++i) {
        weights[i] =
            tensor_view("w", encoding::u8, {outputs[i], k}, std::span(unread.get(), outputs[i] * k));
        planned[i].product.weight = &weights[i];
      }
      for (const std::size_t m : {1U, 7U, 5000U}) {
        noting_executor executor;
        std::array<std::vector<int>, 4> seen;
        for (std::size_t i = 0; i < 4; ++i) seen[i].resize(outputs[i]);
        kernel::for_weight_rows(
            {planned, {nullptr, m, k, k}, &executor, nullptr},
            [&](const kernel::planned_product& each) { return &each != &planned[1]; },
            [&](std::size_t i, kernel::row_range rows) {
              const auto first = static_cast<std::size_t>(rows.first);
              if (first % 32 != 0 || (rows.count % 32 != 0 && first + rows.count != outputs[i])) {
                FAIL("a torn panel");
              }
              for (std::size_t row = 0; row < rows.count; ++row) ++seen[i][first + row];
            });
        CHECK(executor.runs.size() == 1);
        CHECK(seen[0] == std::vector<int>(n, 1));
        CHECK(seen[1] == std::vector<int>(7, 0));
        CHECK(seen[3] == std::vector<int>(n + 5, 1));
      }
    }
  }
}

TEST_CASE("activations are prepared once for all products of one plan", "[multiply]") {
  constexpr std::size_t m = 80, n = 64, k = 4096;
  const auto q4 = nibble_test::finite_stored_bytes(encoding::q4, n, k, 1);
  const auto f16 = nibble_test::finite_stored_bytes(encoding::f16, n, k, 1);
  const tensor_view coded("coded", encoding::q4, {n, k}, q4);
  const tensor_view floats("floats", encoding::f16, {n, k}, f16);
  const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
  std::vector<float> y(m * n), other(m * n), third(m * n);
  const auto runs_of = [&](auto&& work) {
    noting_executor executor;
    work(&executor);
    return executor.runs;
  };
  // 80 rows of 4096 int8 codes fit the scratch: rows are prepared, then each weight has two tasks, all
  // in one run.
  using runs = std::vector<std::size_t>;
  CHECK(runs_of([&](nibble::executor* executor) {
          nibble::matmul({{coded, y}, {coded, other}, {coded, third}}, x,
                         {.mode = matmul_mode::int8, .executor = executor});
        }) == runs{80, 6});
  // Another plan in between takes its own turn, after the first one's products.
  const runs alone = runs_of([&](nibble::executor* executor) {
    nibble::matmul(floats, x, y, {.mode = matmul_mode::int8, .executor = executor});
  });
  runs expected{80, 4};
  expected.insert(expected.end(), alone.begin(), alone.end());
  CHECK(runs_of([&](nibble::executor* executor) {
          nibble::matmul({{coded, y}, {floats, other}, {coded, third}}, x,
                         {.mode = matmul_mode::int8, .executor = executor});
        }) == expected);
}

TEST_CASE("work that is too little to hand over stays on the calling thread", "[multiply]") {
  noting_executor executor;
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 32, 128, 1);
  const auto x = nibble_test::gaussian(4 * 128, 8, 1.0F);
  std::vector<float> y(4 * 32);
  nibble::matmul(tensor_view("w", encoding::q4, {32, 128}, bytes), x, y, {.executor = &executor});
  CHECK(executor.runs.empty());
}

template <class Value>
void check_prepared_rows() {
  for (std::size_t k = 1; k < 600'000; k += 1 + k / 3) {
    for (const std::size_t m : {1U, 2U, 15U, 300U, 100'000U}) {
      const std::size_t rows = kernel::prepared_rows<Value>(m, k);
      CHECK(rows >= 1);
      CHECK(rows <= m);
      if (rows > 1) CHECK(rows * kernel::prepared_row_bytes<Value>(k) <= kernel::max_prepared_bytes);
      if (rows < m) {
        CHECK((rows + 1) * kernel::prepared_row_bytes<Value>(k) > kernel::max_prepared_bytes);
      }
    }
  }
}

TEST_CASE("as many rows are prepared together as fit, and at least one", "[multiply]") {
  check_prepared_rows<float>();
  check_prepared_rows<std::int16_t>();
  check_prepared_rows<std::int8_t>();
}

}  // namespace
