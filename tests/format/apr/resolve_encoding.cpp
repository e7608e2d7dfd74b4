#include <nibble/format/apr/resolve_encoding.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::encoding;
using nibble::shape;
using nibble::apr::check_recorded_encoding;
using nibble::apr::infer_encoding;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nibble_test::size_by_formula;

namespace {

using names = std::set<std::string>;

/// format/README.md section 3: what an id may mean in a file with a record, and in one without.
struct id_meaning {
  names recorded;
  names unrecorded;
};
const std::map<int, id_meaning> meanings = {
    {0, {{"f32"}, {"f32"}}},
    {1, {{"f16"}, {"f16"}}},
    {30, {{"bf16"}, {"bf16"}}},
    {4, {{"i32"}, {"i32"}}},
    {5, {{"i64"}, {"i64"}}},
    {2, {{"q4_0"}, {"q4_0"}}},
    {3, {{"f64", "q4_1"}, {"f64", "q4_1"}}},
    {6, {{"i8", "q5_0"}, {"i8", "q5_0"}}},
    {7, {{"u8", "q5_1"}, {"u8", "q5_1"}}},
    {8, {{"q4", "apr_q4", "q8_0"}, {"apr_q4", "q8_0"}}},
    {9, {{"q8", "apr_q8"}, {"apr_q8"}}},
    {10, {{"q2_k"}, {"q2_k"}}},
    {11, {{"q3_k"}, {"q3_k"}}},
    {12, {{"q4_k"}, {"q4_k"}}},
    {13, {{"q5_k"}, {"q5_k"}}},
    {14, {{"q6_k"}, {"q6_k"}}},
    {20, {{"iq4_nl"}, {"iq4_nl"}}},
    {23, {{"iq4_xs"}, {"iq4_xs"}}},
    {39, {{"mxfp4"}, {"mxfp4"}}},
    {16, {{"iq2_xxs"}, {"iq2_xxs"}}},
    {17, {{"iq2_xs"}, {"iq2_xs"}}},
    {18, {{"iq3_xxs"}, {"iq3_xxs"}}},
    {19, {{"iq1_s"}, {"iq1_s"}}},
    {21, {{"iq3_s"}, {"iq3_s"}}},
    {22, {{"iq2_s"}, {"iq2_s"}}},
    {29, {{"iq1_m"}, {"iq1_m"}}},
    {34, {{"tq1_0"}, {"tq1_0"}}},
    {35, {{"tq2_0"}, {"tq2_0"}}},
    {40, {{"nvfp4"}, {"nvfp4"}}},
    {41, {{"q1_0"}, {"q1_0"}}},
    {42, {{"q2_0"}, {"q2_0"}}},
    {128, {{"apr_q4"}, {"apr_q4"}}},
    {144, {{"q4_r8"}, {}}},
    {145, {{"q8_r8"}, {}}},
    {129, {{"apr_q8"}, {"apr_q8"}}},
};

const std::set<std::string_view> super_blocks = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
const std::set<std::string_view> of_ggml = {
    "q4_0",    "q4_1",  "q5_0",  "q5_1",  "q8_0",  "iq4_nl", "iq4_xs", "mxfp4", "iq2_xxs", "iq2_xs",
    "iq3_xxs", "iq1_s", "iq3_s", "iq2_s", "iq1_m", "tq1_0",  "tq2_0",  "nvfp4", "q1_0",    "q2_0"};

/// Whether an encoding stands among the candidates for a matrix, by the format's words.
bool stands(std::string_view name, std::uint64_t rows, std::uint64_t cols) {
  const bool is_whole = cols % nibble_test::figures_of(name).block_elements == 0;
  if (super_blocks.contains(name)) return is_whole || rows == 1;
  return !of_ggml.contains(name) || is_whole;
}

std::string resolved(int id, const shape& dimensions, std::uint64_t size) {
  const auto which = infer_encoding("w", static_cast<std::uint8_t>(id), dimensions, size);
  return which ? std::string(nibble::to_string(*which)) : "unknown";
}

std::string refused(int id, const shape& dimensions, std::uint64_t size) {
  const auto result = outcome_of([&] { static_cast<void>(resolved(id, dimensions, size)); });
  CHECK(result.code == "size_mismatch");
  CHECK(missing_parts(result.message, {"'w'", fmt::format("id {}", id), dimensions.to_string(),
                                       fmt::format("{} bytes", size)})
            .empty());
  return result.message;
}

}  // namespace

TEST_CASE("with a record an id bears the encodings of the table and no others", "[resolve_encoding]") {
  const shape dimensions{4, 256};
  for (int id = 0; id < 256; ++id) {
    const auto meaning = meanings.find(id);
    for (const auto& figures : nibble_test::all_figures) {
      CAPTURE(id, figures.name);
      const auto which = nibble::encoding_from_name(figures.name);
      REQUIRE(which.has_value());
      const std::uint64_t size = size_by_formula(figures.name, {4, 256});
      std::optional<encoding> taken;
      const auto result = outcome_of([&] {
        taken = check_recorded_encoding("w", *which, static_cast<std::uint8_t>(id), dimensions, size);
      });
      if (meaning != meanings.end() && meaning->second.recorded.contains(std::string(figures.name))) {
        CHECK(result.code == "taken");
        CHECK(taken == which);
      } else {
        CHECK(result.code == "bad_record");
        CHECK(missing_parts(result.message,
                            {"'w'", "dtype id", fmt::format("found {}", id),
                             fmt::format("expected {}", figures.dtype_id), std::string(figures.name)})
                  .empty());
      }
    }
  }
}

TEST_CASE("with a record the size must be the encoding's to the byte", "[resolve_encoding]") {
  for (const auto& figures : nibble_test::all_figures) {
    CAPTURE(figures.name);
    const auto which = nibble::encoding_from_name(figures.name);
    REQUIRE(which.has_value());
    const std::uint64_t size = size_by_formula(figures.name, {3, 200});
    const auto id = static_cast<std::uint8_t>(figures.dtype_id);
    CHECK(check_recorded_encoding("w", *which, id, {3, 200}, size) == *which);
    for (const std::uint64_t wrong : {size - 1, size + 1, std::uint64_t{0}, size * 2}) {
      const auto result = outcome_of([&] {
        static_cast<void>(check_recorded_encoding("w", *which, id, {3, 200}, wrong));
      });
      CHECK(result.code == "size_mismatch");
      CHECK(missing_parts(result.message,
                          {"'w'", fmt::format("{} bytes", wrong), fmt::format("expected {}", size),
                           std::string(figures.name), "3x200"})
                .empty());
    }
  }
}

TEST_CASE("without a record an id means what the table says", "[resolve_encoding]") {
  for (int id = 0; id < 256; ++id) {
    const auto meaning = meanings.find(id);
    for (const auto& figures : nibble_test::all_figures) {
      CAPTURE(id, figures.name);
      const std::uint64_t size = size_by_formula(figures.name, {5, 256});
      if (meaning == meanings.end()) {
        CHECK(resolved(id, {5, 256}, size) == "unknown");
        CHECK(resolved(id, {5, 256}, 1) == "unknown");
      } else if (meaning->second.unrecorded.contains(std::string(figures.name))) {
        CHECK(resolved(id, {5, 256}, size) == figures.name);
        CHECK_FALSE(refused(id, {5, 256}, size + 1).empty());
      }
    }
  }
}

TEST_CASE("what no candidate needs is refused with what each would", "[resolve_encoding]") {
  CHECK(missing_parts(refused(0, {2, 3}, 23), {"24 for f32"}).empty());
  CHECK(missing_parts(refused(3, {2, 32}, 41), {"512 for f64 or 40 for q4_1"}).empty());
  CHECK(missing_parts(refused(8, {2, 32}, 69), {"36 for apr_q4 or 68 for q8_0"}).empty());
  CHECK(missing_parts(refused(8, {2, 33}, 1), {"54 for apr_q4"}).empty());
  CHECK(missing_parts(refused(9, {100}, 400), {"104 for apr_q8"}).empty());
  // The byte count that made other readers see a quarter of the elements.
  CHECK(missing_parts(refused(0, {576, 576}, 331'780), {"1327104 for f32"}).empty());
}

TEST_CASE("bytes that would fit q4 or q8 are not read without a record", "[resolve_encoding]") {
  const std::string as_q4 = refused(8, {576, 576}, size_by_formula("q4", {576, 576}));
  CHECK(missing_parts(as_q4, {"they would fit q4", "records it under 'nibble'"}).empty());
  const std::string as_q8 = refused(9, {192, 576}, size_by_formula("q8", {192, 576}));
  CHECK(missing_parts(as_q8, {"they would fit q8", "records it under 'nibble'"}).empty());
  CHECK(refused(8, {2, 33}, 80).find("they would fit q4") != std::string::npos);
  CHECK(refused(8, {2, 33}, 81).find("they would fit") == std::string::npos);
}

TEST_CASE("interleaved rows are not read without a record, not even of an empty tensor",
          "[resolve_encoding]") {
  const std::string as_q4_r8 = refused(144, {9, 40}, size_by_formula("q4_r8", {9, 40}));
  CHECK(missing_parts(as_q4_r8, {"they would fit q4_r8", "records it under 'nibble'"}).empty());
  const std::string as_q8_r8 = refused(145, {9, 40}, 2 * 2 * 288);
  CHECK(missing_parts(as_q8_r8, {"they would fit q8_r8", "records it under 'nibble'"}).empty());
  CHECK(refused(144, {9, 40}, 2 * 2 * 288).find("they would fit") == std::string::npos);
  CHECK_FALSE(refused(144, {0, 7}, 0).empty());
  CHECK(check_recorded_encoding("w", encoding::q4_r8, 144, {0, 7}, 0) == encoding::q4_r8);
}

TEST_CASE("partial rows of several are no candidates, of one row they are", "[resolve_encoding]") {
  CHECK(resolved(12, {300}, 288) == "q4_k");
  CHECK(resolved(12, {1, 300}, 288) == "q4_k");
  CHECK(resolved(12, {2, 256}, 288) == "q4_k");
  CHECK(
      missing_parts(refused(12, {2, 200}, 288), {"they would fit q4_k", "whole blocks only"}).empty());
  CHECK(missing_parts(refused(2, {33}, 36), {"they would fit q4_0", "whole blocks only"}).empty());
  CHECK(resolved(2, {64}, 36) == "q4_0");
  CHECK_FALSE(refused(23, {1, 300}, 272).empty());  // blocks of 256, but no k-quant
  // Recorded, the same bytes have one meaning.
  CHECK(check_recorded_encoding("w", encoding::q4_k, 12, {2, 200}, 288) == encoding::q4_k);
}

TEST_CASE("an empty tensor is the first candidate", "[resolve_encoding]") {
  const std::map<int, std::string> firsts = {
      {0, "f32"},  {3, "f64"},   {6, "i8"},      {7, "u8"},       {8, "apr_q4"},  {9, "apr_q8"},
      {2, "q4_0"}, {12, "q4_k"}, {23, "iq4_xs"}, {128, "apr_q4"}, {129, "apr_q8"}};
  for (const auto& [id, first] : firsts) {
    for (const shape& dimensions : {shape{0}, shape{0, 7}, shape{7, 0}, shape{3, 0, 5}}) {
      CHECK(resolved(id, dimensions, 0) == first);
      CHECK_FALSE(refused(id, dimensions, 4).empty());
    }
  }
  CHECK(check_recorded_encoding("w", encoding::q4, 8, {0, 7}, 0) == encoding::q4);
}

TEST_CASE("a scalar is a matrix of one", "[resolve_encoding]") {
  CHECK(resolved(0, {}, 4) == "f32");
  CHECK(resolved(129, {}, 5) == "apr_q8");
  CHECK(resolved(128, {}, 18) == "apr_q4");
}

TEST_CASE("sizes that 64 bits do not hold fit nothing", "[resolve_encoding]") {
  const shape huge{std::uint64_t{1} << 62U};
  CHECK(missing_parts(refused(3, huge, 0), {"over 2^64 for f64"}).empty());
  const auto result =
      outcome_of([&] { static_cast<void>(check_recorded_encoding("w", encoding::f64, 3, huge, 0)); });
  CHECK(result.code == "size_mismatch");
}

TEST_CASE("no two candidates of an id ever have the same size", "[resolve_encoding]") {
  // The names and sizes come from the tables of the format; the library's own candidates and sizes are
  // held against them for every shape.
  struct candidate {
    encoding which;
    nibble_test::encoding_figures figures;
    std::uint8_t id;
    bool is_unrecorded;
  };
  std::vector<std::vector<candidate>> of_ids;
  for (const auto& [id, meaning] : meanings) {
    if (meaning.recorded.size() < 2) continue;  // nothing to mistake it for
    std::vector<candidate> some;
    for (const std::string& name : meaning.recorded) {
      some.push_back({*nibble::encoding_from_name(name), nibble_test::figures_of(name),
                      static_cast<std::uint8_t>(id), meaning.unrecorded.contains(name)});
    }
    of_ids.push_back(some);
  }
  std::uint64_t clashes = 0;
  std::uint64_t disagreements = 0;
  std::uint64_t resolved_shapes = 0;
  const auto try_shape = [&](const shape& dimensions, std::uint64_t rows, std::uint64_t cols) {
    for (const auto& some : of_ids) {
      std::array<std::uint64_t, 4> taken_sizes{};
      std::size_t taken = 0;
      for (const candidate& one : some) {
        const bool expected = one.is_unrecorded && stands(one.figures.name, rows, cols);
        const bool actual = nibble::apr::is_candidate(nibble::describe(one.which), one.id, dimensions);
        const std::uint64_t size = nibble_test::size_of_matrix(one.figures, rows, cols);
        disagreements += expected != actual ? 1U : 0U;
        disagreements += nibble::stored_bytes(one.which, dimensions) != size ? 1U : 0U;
        if (!actual) continue;
        for (std::size_t i = 0; i < taken; ++i) clashes += taken_sizes[i] == size ? 1U : 0U;
        taken_sizes[taken++] = size;
        if (rows % 37 == 0 || cols % 96 == 0) {
          disagreements += infer_encoding("w", one.id, dimensions, size) != one.which ? 1U : 0U;
          ++resolved_shapes;
        }
      }
    }
  };
  for (std::uint64_t rows = 1; rows <= 600; ++rows) {
    for (std::uint64_t cols = 1; cols <= 600; ++cols) try_shape({rows, cols}, rows, cols);
  }
  for (std::uint64_t cols = 1; cols <= 5000; ++cols) try_shape({cols}, 1, cols);
  for (std::uint64_t cols = 1; cols <= 600; ++cols) {
    try_shape({cols, 1, 64}, cols, 64);
    try_shape({3, 5, cols}, 15, cols);
  }
  try_shape({}, 1, 1);
  CHECK(of_ids.size() == 5);
  CHECK(clashes == 0);
  CHECK(disagreements == 0);
  CHECK(resolved_shapes > 10'000);
}

TEST_CASE("where q8 and apr_q8 take the same bytes, the record alone tells them apart",
          "[resolve_encoding]") {
  REQUIRE(size_by_formula("q8", {32}) == size_by_formula("apr_q8", {32}));
  CHECK(resolved(9, {32}, 36) == "apr_q8");
  CHECK(check_recorded_encoding("w", encoding::q8, 9, {32}, 36) == encoding::q8);
  CHECK(check_recorded_encoding("w", encoding::apr_q8, 9, {32}, 36) == encoding::apr_q8);
}
