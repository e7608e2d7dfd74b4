#include <nibble/codec/iq1_m.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq1_m;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq1_m_block{
    "8c413b518ec5cfaa412d37b368f6af45b6df3c7baee3a04d116d369077fdeb03a39a23c1d79c350138e5a409"
    "41e16750b5b7d5c9e499351f",
    {0.0350039F, -0.027225256F, 0.0038893223F, 0.0038893223F, 0.0038893223F, -0.027225256F,
     0.0038893223F, 0.0038893223F},
    0xCBFCE203};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq1_m_block{
    "678a30262d840dc719d9c117ac6b3e6dffbef787c5e5103a051eba001b6ee3ec1f95d17cc777e98569b93a1e"
    "2f85464982cc21addb64698f",
    {-0.0004453957F, 6.362796e-05F, 0.0005726516F, 6.362796e-05F, 6.362796e-05F, 0.0005726516F,
     -0.0004453957F, -0.0004453957F},
    0x9E57D512};

TEST_CASE("iq1_m blocks of ggml unpack to ggml's values", "[iq1_m]") {
  nibble_test::require_unpacks_golden_block<iq1_m>(packed_iq1_m_block);
  nibble_test::require_unpacks_golden_block<iq1_m>(random_iq1_m_block);
}

TEST_CASE("iq1_m blocks of any bytes unpack as ggml's formula says", "[iq1_m]") {
  nibble_test::require_unpacks_any_bytes<iq1_m>();
}

TEST_CASE("iq1_m unpacks what ggml wrote bit for bit", "[iq1_m]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq1_m>(shared);
}

}  // namespace
