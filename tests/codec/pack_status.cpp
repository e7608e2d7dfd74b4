#include <nibble/codec/pack_status.hpp>

#include <vector>

#include <nibble/codec/apr_q4.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/codec/q8.hpp>

#include <support/catch.hpp>

namespace {

using nibble::pack_status;
using nibble::packing_rule;

TEST_CASE("a status that nobody set says packed, and a rule that nobody chose is the best",
          "[pack_status]") {
  CHECK(pack_status{} == pack_status::packed);
  CHECK(packing_rule{} == packing_rule::best);
  CHECK(pack_status::scale_overflow != pack_status::min_overflow);
}

TEST_CASE("each codec reports which of its float16 numbers overflows", "[pack_status]") {
  const std::vector<float> low = {-1e6F, 0.0F};
  const std::vector<float> wide = {0.0F, 1e9F};
  nibble::q4::block q4_block;
  nibble::q8::block q8_block;
  nibble::apr_q4::block apr_block;
  CHECK(nibble::q4::pack(low, q4_block) == pack_status::min_overflow);
  CHECK(nibble::q8::pack(low, q8_block) == pack_status::min_overflow);
  CHECK(nibble::q4::pack(wide, q4_block) == pack_status::scale_overflow);
  CHECK(nibble::q8::pack(wide, q8_block) == pack_status::scale_overflow);
  for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
    // No min to overflow: only magnitude counts.
    CHECK(nibble::apr_q4::pack(low, apr_block, rule) == pack_status::scale_overflow);
    CHECK(nibble::apr_q4::pack(wide, apr_block, rule) == pack_status::scale_overflow);
  }
}

}  // namespace
