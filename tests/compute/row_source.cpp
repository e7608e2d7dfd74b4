#include <nibble/compute/row_source.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nibble/compute/quantize.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/random_values.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::packing_rule;
using nibble::shape;

using nibble_test::packable_encodings;

std::vector<std::byte> packed_from(const nibble::row_source& source, encoding which,
                                   const shape& dimensions, packing_rule rule, nibble::executor* on) {
  const nibble::tensor_packer packer("streamed", which, dimensions, source,
                                     {.rule = rule, .executor = on});
  std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)));
  nibble::run_tasks(on, packer.chunk_count(), [&](std::size_t chunk) {
    packer.pack(chunk,
                std::span(bytes).subspan(static_cast<std::size_t>(packer.chunk_offset_bytes(chunk)),
                                         packer.chunk_size_bytes(chunk)));
  });
  return bytes;
}

TEST_CASE("rows on demand give the bytes of rows in memory, and are asked for within the tensor",
          "[row_source]") {
  nibble_test::shuffled_executor threads(2);
  for (const shape& dimensions : {shape{700, 173}, shape{3, 70001}, shape{70001, 3}, shape{65537},
                                  shape{31, 5}, shape{4, 100, 173}, shape{2100, 31}}) {
    const auto values = nibble_test::heavy_tailed(static_cast<std::size_t>(dimensions.elements()), 41);
    const std::uint64_t rows = dimensions.rows();
    const auto cols = static_cast<std::size_t>(dimensions.cols());
    for (const encoding which : packable_encodings) {
      for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
        const bool has_rules = which == encoding::apr_q8 || which == encoding::apr_q4;
        if (rule == packing_rule::reference && !has_rules) continue;
        std::atomic<int> outside{0};
        std::mutex guard;
        std::vector<bool> was_asked(static_cast<std::size_t>(rows));
        std::size_t largest_request = 0;
        const nibble::row_source source = [&](std::uint64_t first, std::uint64_t count,
                                              std::span<float> into) {
          if (count == 0 || first >= rows || count > rows - first || into.size() != count * cols) {
            ++outside;
            return;
          }
          std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first * cols), into.size(),
                      into.begin());
          const std::lock_guard lock(guard);
          for (std::uint64_t row = first; row < first + count; ++row)
            was_asked[static_cast<std::size_t>(row)] = true;
          largest_request = std::max(largest_request, into.size());
        };
        std::vector<std::byte> expected(
            static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)));
        nibble::quantize(which, dimensions, values, expected, {.rule = rule});
        INFO(nibble::to_string(which) << " " << dimensions.to_string());
        CHECK((packed_from(source, which, dimensions, rule, nullptr) == expected));
        CHECK((packed_from(source, which, dimensions, rule, &threads) == expected));
        CHECK(outside == 0);
        CHECK(std::ranges::count(was_asked, false) == 0);
        // Constant memory: a chunk of 65,536, a row before and behind it for a block that straddles.
        CHECK(largest_request <=
              std::max<std::size_t>(65536, cols) + 2 * std::max<std::size_t>(cols, 32));
      }
    }
  }
}

TEST_CASE("a source for an empty tensor is never asked", "[row_source]") {
  const nibble::row_source source = [](std::uint64_t, std::uint64_t, std::span<float>) {
    throw std::logic_error("asked");
  };
  for (const encoding which : packable_encodings) {
    for (const shape& empty : {shape{0}, shape{5, 0}, shape{0, 5}}) {
      CHECK_NOTHROW(packed_from(source, which, empty, packing_rule::best, nullptr));
    }
  }
}

TEST_CASE("what a source throws reaches the caller as it was thrown", "[row_source]") {
  struct disk_is_gone {
    std::uint64_t row;
  };
  nibble_test::shuffled_executor threads(3);
  for (const encoding which : packable_encodings) {
    for (nibble::executor* const on :
         {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
      for (const std::uint64_t bad_row : {0U, 350U, 699U}) {
        const nibble::row_source source = [&](std::uint64_t first, std::uint64_t count,
                                              std::span<float> into) {
          if (bad_row >= first && bad_row < first + count) throw disk_is_gone{bad_row};
          std::ranges::fill(into, 0.5F);
        };
        bool was_caught = false;
        try {
          static_cast<void>(packed_from(source, which, {700, 173}, packing_rule::best, on));
        } catch (const disk_is_gone& caught) {
          was_caught = caught.row == bad_row;
        }
        CHECK(was_caught);
      }
    }
  }
}

TEST_CASE("a value of a source that cannot be packed is named by its place in the tensor",
          "[row_source]") {
  for (const encoding which : {encoding::q8, encoding::q4, encoding::apr_q8, encoding::apr_q4}) {
    for (const std::uint64_t bad : {0U, 172U, 64700U, 65533U, 121099U}) {
      const nibble::row_source source = [&](std::uint64_t first, std::uint64_t count,
                                            std::span<float> into) {
        std::ranges::fill(into, 0.25F);
        if (bad >= first * 173 && bad < (first + count) * 173) {
          into[static_cast<std::size_t>(bad - first * 173)] = -HUGE_VALF;
        }
      };
      const auto thrown = nibble_test::error_of([&] {
        static_cast<void>(packed_from(source, which, {700, 173}, packing_rule::best, nullptr));
      });
      REQUIRE(thrown);
      CHECK(thrown->code() == nibble::error_code::not_representable);
      CHECK(thrown->detail().tensor == "streamed");
      CHECK(thrown->detail().field == "element " + std::to_string(bad));
      CHECK(thrown->detail().found == "-inf");
    }
  }
}

}  // namespace
