#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <nibble/nibble.hpp>

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/shuffled_executor.hpp>

namespace {

TEST_CASE("several threads of a host read, decode and multiply by one reader at once", "[threads]") {
  constexpr std::size_t rows = 130;
  constexpr std::size_t cols = 300;
  std::vector<float> values(rows * cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 7919U % 1000U) / 500.0F - 1.0F;
  }
  nibble::writer out;
  for (const nibble::encoding which :
       {nibble::encoding::q8, nibble::encoding::q4, nibble::encoding::f16, nibble::encoding::apr_q8,
        nibble::encoding::apr_q4}) {
    out.add(which, std::string(to_string(which)), {rows, cols}, values);
  }
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "model.apr";
  out.write(path);
  const nibble::reader in(path);

  const std::vector<float> x(values.begin(), values.begin() + 3 * cols);
  struct result {
    std::vector<float> decoded = std::vector<float>(rows * cols);
    std::vector<float> y = std::vector<float>(3 * rows);
    bool operator==(const result&) const = default;
  };
  const auto work = [&](nibble::executor* on) {
    std::vector<result> results;
    for (const nibble::tensor_view& w : in) {
      result& one = results.emplace_back();
      nibble::dequantize(in[w.name()], one.decoded, {.executor = on});
      nibble::matmul(w, x, one.y, {.executor = on});
    }
    return results;
  };
  const std::vector<result> expected = work(nullptr);

  constexpr std::size_t host_threads = 4;
  std::vector<int> differing(host_threads);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < host_threads; ++i) {
      threads.emplace_back([&, i] {
        // Two of them spread each call over more threads.
        nibble_test::shuffled_executor spread(static_cast<std::uint32_t>(i));
        for (int round = 0; round < 5; ++round) {
          differing[i] += work(i % 2 == 0 ? nullptr : &spread) == expected ? 0 : 1;
        }
        if (i == 0) in.verify();
      });
    }
  }
  CHECK(differing == std::vector<int>(host_threads, 0));
}

}  // namespace
