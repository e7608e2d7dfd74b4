// Packs tensors of every encoding from seeded values into one file: determinism/compare.cmake builds
// this in many ways and holds the files against each other.
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <nibble/writer.hpp>

namespace {

/// A bell-shaped value times a power of two that changes from block to block; the same bits from every
/// standard library.
std::vector<float> seeded_values(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::int64_t sum = 0;
    for (int part = 0; part < 6; ++part) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      sum += static_cast<std::int64_t>(seed >> 40U) - (std::int64_t{1} << 23U);
    }
    const int exponent = static_cast<int>(i / 32 % 40) - 36;
    const float power = std::bit_cast<float>(static_cast<std::uint32_t>(127 + exponent) << 23U);
    values[i] = static_cast<float>(sum) * 0x1p-24F * power;
  }
  return values;
}

class threads final : public nibble::executor {
 public:
  explicit threads(std::size_t count) : count_(count) {}
  void run(std::size_t tasks, nibble::task_reference body) override {
    std::vector<std::jthread> pool;
    for (std::size_t first = 0; first < count_; ++first) {
      pool.emplace_back([=, this] {
        for (std::size_t task = first; task < tasks; task += count_) body(task);
      });
    }
  }

 private:
  std::size_t count_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::vector<float> values = seeded_values(300 * 700, 1);
  const auto part = [&](std::size_t count) { return std::span<const float>(values).first(count); };
  nibble::writer out;
  out.metadata() = {{"architecture", "llama"}, {"rope_theta", 10000.5}, {"rms_norm_eps", 1e-5}};
  using nibble::encoding;
  using nibble::packing_rule;
  for (const encoding which : {encoding::q8, encoding::q4, encoding::apr_q8, encoding::apr_q4,
                               encoding::f16, encoding::bf16, encoding::f32}) {
    const std::string name(nibble::to_string(which));
    out.add(which, name + ".300x700", {300, 700}, part(300 * 700));
    out.add(which, name + ".33x173", {33, 173}, part(33 * 173));
    out.add(which, name + ".reference", {65, 31}, part(65 * 31), {.rule = packing_rule::reference});
  }
  for (const encoding which :
       {encoding::q4_0, encoding::q4_1, encoding::q5_0, encoding::q5_1, encoding::q8_0, encoding::q2_k,
        encoding::q3_k, encoding::q4_k, encoding::q5_k, encoding::q6_k}) {
    const std::string name(nibble::to_string(which));
    out.add(which, name + ".100x700", {100, 700}, part(100 * 700));
    out.add(which, name + ".33x173", {33, 173}, part(33 * 173));
  }
  threads on(static_cast<std::size_t>(std::atoi(argv[2])));
  out.write(argv[1], {.executor = &on});
}
