/// A host's own threads: an executor on std::thread, and a product that runs on it.
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include <nibble/compute/matmul.hpp>
#include <nibble/compute/quantize.hpp>

class my_threads final : public nibble::executor {
 public:
  void run(std::size_t tasks, nibble::task_reference body) override {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t task = next++; task < tasks; task = next++) body(task);
    };
    std::vector<std::jthread> helpers(std::thread::hardware_concurrency());
    for (std::jthread& helper : helpers) helper = std::jthread(work);
    work();  // The calling thread helps; the others are joined as they go out of scope.
  }
};

int main() {
  const nibble::shape shape{1024, 576};
  std::vector<float> weights(shape.elements()), x(576, 1.0F), alone(1024), together(1024);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.01F * float(i % 31) - 0.15F;

  my_threads threads;
  std::vector<std::byte> packed(*nibble::stored_bytes(nibble::encoding::q4, shape));
  nibble::quantize(nibble::encoding::q4, shape, weights, packed, {.executor = &threads});
  const nibble::tensor_view w("w", nibble::encoding::q4, shape, packed);

  nibble::matmul(w, x, alone);
  nibble::matmul(w, x, together, {.executor = &threads});
  std::printf("%s results on one thread and on many\n", alone == together ? "equal" : "different");
  return alone == together ? 0 : 1;
}
