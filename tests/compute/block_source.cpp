#include <nibble/compute/block_source.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/writer.hpp>

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::container;
using nibble::encoding;
using nibble::shape;
using nibble_test::temporary_directory;

std::vector<std::byte> written(const nibble::writer& out, container as, nibble::executor* on) {
  const temporary_directory folder;
  out.write(folder / "file", {.container = as, .executor = on});
  return nibble_test::read_file(folder / "file");
}

TEST_CASE("blocks on demand are written like blocks in memory, and are asked for within the tensor",
          "[block_source]") {
  nibble_test::shuffled_executor threads(2);
  for (const encoding which : nibble_test::decodable_encodings) {
    const nibble::encoding_description& of = nibble::describe(which);
    if (!of.has_blocks()) continue;
    const container as = of.apr_dtype_id ? container::apr : container::safetensors;
    // One block, several, more than a part of 1 MiB (which few blocks divide), and none.
    for (const shape& dimensions :
         {shape{1, of.block_elements}, shape{3, 5 * of.block_elements},
          shape{1'400'000 / of.block_bytes, of.block_elements}, shape{0, of.block_elements}}) {
      INFO(of.name << " " << dimensions.to_string());
      const auto stored = nibble_test::random_bytes(
          static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)), 3);
      nibble::writer expected;
      expected.add_stored(which, "w", dimensions, stored);
      std::atomic<int> outside{0};
      std::mutex guard;
      std::vector<int> times_asked(stored.size() / of.block_bytes);
      std::size_t largest_request = 0;
      nibble::writer out;
      out.add_stored(
          which, "w", dimensions, [&](std::uint64_t first_block, std::span<std::byte> blocks) {
            const std::size_t count = blocks.size() / of.block_bytes;
            if (count == 0 || blocks.size() % of.block_bytes != 0 ||
                first_block >= times_asked.size() || count > times_asked.size() - first_block) {
              ++outside;
              return;
            }
            const auto first = static_cast<std::size_t>(first_block);
            std::ranges::copy(std::span(stored).subspan(first * of.block_bytes, blocks.size()),
                              blocks.begin());
            const std::lock_guard lock(guard);
            for (std::size_t block = first; block < first + count; ++block) ++times_asked[block];
            largest_request = std::max(largest_request, blocks.size());
          });
      const auto bytes = written(expected, as, nullptr);
      CHECK((written(out, as, nullptr) == bytes));
      CHECK((written(out, as, &threads) == bytes));
      CHECK(outside == 0);
      CHECK(std::ranges::count_if(times_asked, [](int times) { return times < 2; }) == 0);
      // Constant memory, and no more requests than that needs.
      CHECK(largest_request <= 1U << 20U);
      if (stored.size() > 1U << 20U) CHECK(largest_request > 1U << 19U);
    }
  }
}

TEST_CASE("blocks on demand go into every container that has a place for them", "[block_source]") {
  nibble_test::shuffled_executor threads(4);
  const shape dimensions{200, 32'000};
  const auto stored = nibble_test::random_bytes(18 * 200'000, 3);
  const auto halves = nibble_test::random_bytes(2 * 700'000, 4);
  for (const container as : {container::apr, container::gguf, container::safetensors}) {
    nibble::writer expected;
    nibble::writer out;
    const auto add = [&](encoding which, const char* name, const shape& of,
                         std::span<const std::byte> bytes, std::size_t block_bytes) {
      expected.add_stored(which, name, of, bytes);
      out.add_stored(which, name, of, [=](std::uint64_t first_block, std::span<std::byte> blocks) {
        std::ranges::copy(bytes.subspan(first_block * block_bytes, blocks.size()), blocks.begin());
      });
    };
    if (as != container::safetensors) add(encoding::q4_0, "w", dimensions, stored, 18);
    add(encoding::f16, "h", {700, 1000}, halves, 2);
    CHECK((written(out, as, &threads) == written(expected, as, nullptr)));
  }
}

TEST_CASE("what a source of blocks throws reaches the caller as it was thrown", "[block_source]") {
  struct disk_is_gone {
    std::uint64_t block;
  };
  nibble_test::shuffled_executor threads(3);
  for (nibble::executor* const on :
       {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
    for (const std::uint64_t bad_block : {0U, 100'000U, 199'999U}) {
      nibble::writer out;
      out.add_stored(encoding::q4_0, "w", {200, 32'000},
                     [&](std::uint64_t first, std::span<std::byte> blocks) {
                       if (bad_block >= first && bad_block < first + blocks.size() / 18) {
                         throw disk_is_gone{bad_block};
                       }
                       std::ranges::fill(blocks, std::byte{1});
                     });
      const temporary_directory folder;
      std::uint64_t caught_block = ~std::uint64_t{0};
      try {
        out.write(folder / "file", {.executor = on});
      } catch (const disk_is_gone& caught) {
        caught_block = caught.block;
      }
      CHECK(caught_block == bad_block);
      CHECK(std::filesystem::is_empty(folder.path()));
    }
  }
}

}  // namespace
