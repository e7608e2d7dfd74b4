#include <nibble/simd/cpu_features.hpp>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#endif

#include <support/catch.hpp>

namespace {

using nibble::simd::cpu_feature;
using nibble::simd::cpu_feature_set;

TEST_CASE("a set has what was added to it", "[cpu_features]") {
  cpu_feature_set none;
  CHECK(none.is_empty());
  CHECK(to_string(none).empty());
#if defined(__x86_64__)
  cpu_feature_set some;
  some.add(cpu_feature::avx2);
  some.add(cpu_feature::fma);
  CHECK(some.has(cpu_feature::avx2));
  CHECK_FALSE(some.has(cpu_feature::avx512f));
  CHECK(to_string(some) == "fma avx2");
  cpu_feature_set more = some;
  more.add(cpu_feature::tbm);
  CHECK(some.without(more).is_empty());
  CHECK(to_string(more.without(some)) == "tbm");
  CHECK_FALSE(some == more);
#endif
}

#if defined(__x86_64__)

/// A processor that has every bit of CPUID set, under an operating system that saves `state`.
cpu_feature_set features_of(std::uint64_t state, bool has_osxsave = true) {
  return nibble::simd::read_cpu_features(
      [&](std::uint32_t leaf, std::uint32_t) {
        const std::uint32_t all = 0xFFFFFFFFU;
        return nibble::simd::cpuid_registers{all, all,
                                             leaf == 1 && !has_osxsave ? all & ~(1U << 27U) : all, all};
      },
      [&]() -> std::uint64_t {
        if (!has_osxsave) FAIL("XGETBV without OSXSAVE");
        return state;
      });
}

TEST_CASE("registers that the operating system does not save are no use", "[cpu_features]") {
  const cpu_feature_set without_osxsave = features_of(0, false);
  CHECK(to_string(without_osxsave) ==
        "sse3 ssse3 cx16 sse4_1 sse4_2 movbe popcnt aes pclmul bmi bmi2 adx gfni lzcnt tbm");
  CHECK(features_of(0) == without_osxsave);
  CHECK(features_of(0b011) == without_osxsave);       // x87 and SSE
  CHECK(features_of(0b101) == without_osxsave);       // YMM without SSE
  CHECK(features_of(0b11100001) == without_osxsave);  // ZMM without YMM
  const cpu_feature_set ymm = features_of(0b111);
  CHECK(ymm.has(cpu_feature::avx2));
  CHECK(ymm.has(cpu_feature::fma));
  CHECK(ymm.has(cpu_feature::f16c));
  CHECK(ymm.has(cpu_feature::avxvnni));
  CHECK_FALSE(ymm.has(cpu_feature::avx512f));
  CHECK(features_of(0b01100111) == ymm);  // no upper ZMM
  CHECK(features_of(0b11000111) == ymm);  // no mask registers
  const cpu_feature_set zmm = features_of(0b11100111);
  CHECK(zmm.has(cpu_feature::avx512f));
  CHECK(zmm.has(cpu_feature::avx512vnni));
  CHECK(zmm.has(cpu_feature::avx2));
}

/// What one bit of CPUID alone brings.
std::string features_of_bit(std::uint32_t leaf, std::uint32_t subleaf, char letter, unsigned bit) {
  return to_string(nibble::simd::read_cpu_features(
      [&](std::uint32_t asked, std::uint32_t asked_subleaf) {
        nibble::simd::cpuid_registers out;
        if (asked == 1) out.ecx = 1U << 27U;
        if (asked != leaf || asked_subleaf != subleaf) return out;
        std::uint32_t& to = letter == 'a'   ? out.eax
                            : letter == 'b' ? out.ebx
                            : letter == 'c' ? out.ecx
                                            : out.edx;
        to |= 1U << bit;
        return out;
      },
      [] { return ~std::uint64_t{0}; }));
}

TEST_CASE("each instruction set stands where the vendors' manuals put it", "[cpu_features]") {
  CHECK(features_of_bit(1, 0, 'c', 12) == "fma");
  CHECK(features_of_bit(1, 0, 'c', 19) == "sse4_1");
  CHECK(features_of_bit(1, 0, 'c', 28) == "avx");
  CHECK(features_of_bit(1, 0, 'c', 29) == "f16c");
  CHECK(features_of_bit(7, 0, 'b', 5) == "avx2");
  CHECK(features_of_bit(7, 0, 'b', 16) == "avx512f");
  CHECK(features_of_bit(7, 0, 'b', 17) == "avx512dq");
  CHECK(features_of_bit(7, 0, 'b', 28) == "avx512cd");
  CHECK(features_of_bit(7, 0, 'b', 30) == "avx512bw");
  CHECK(features_of_bit(7, 0, 'b', 31) == "avx512vl");
  CHECK(features_of_bit(7, 0, 'c', 11) == "avx512vnni");
  CHECK(features_of_bit(7, 1, 'a', 4) == "avxvnni");
  CHECK(features_of_bit(0x80000001U, 0, 'c', 5) == "lzcnt");
  CHECK(features_of_bit(7, 1, 'b', 5).empty());
}

TEST_CASE("this program's own instruction sets are there", "[cpu_features]") {
  const cpu_feature_set needed = nibble::simd::compiled_cpu_features();
  const cpu_feature_set available = nibble::simd::available_cpu_features();
  CHECK(to_string(needed.without(available)).empty());
#if defined(__AVX2__)
  CHECK(needed.has(cpu_feature::avx2));
  CHECK(needed.has(cpu_feature::avx));
#else
  CHECK_FALSE(needed.has(cpu_feature::avx2));
#endif
#if defined(__AVX512VNNI__)
  CHECK(needed.has(cpu_feature::avx512vnni));
#else
  CHECK_FALSE(needed.has(cpu_feature::avx512vnni));
#endif
}

#if defined(__linux__)
TEST_CASE("the kernel names the same instruction sets", "[cpu_features]") {
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const cpu_feature_set available = nibble::simd::available_cpu_features();
  const auto require_same = [&](cpu_feature which, const char* flag) {
    CAPTURE(flag);
    CHECK(available.has(which) == (text.find(' ' + std::string(flag) + ' ') != std::string::npos));
  };
  require_same(cpu_feature::ssse3, "ssse3");
  require_same(cpu_feature::sse4_1, "sse4_1");
  require_same(cpu_feature::fma, "fma");
  require_same(cpu_feature::f16c, "f16c");
  require_same(cpu_feature::avx, "avx");
  require_same(cpu_feature::avx2, "avx2");
  require_same(cpu_feature::bmi2, "bmi2");
  // A kernel may keep this one to itself, for it has no state to save: only what it names is compared.
  if (text.find(" abm ") != std::string::npos) CHECK(available.has(cpu_feature::lzcnt));
  require_same(cpu_feature::avx512f, "avx512f");
  require_same(cpu_feature::avx512cd, "avx512cd");
  require_same(cpu_feature::avx512bw, "avx512bw");
  require_same(cpu_feature::avx512dq, "avx512dq");
  require_same(cpu_feature::avx512vl, "avx512vl");
  require_same(cpu_feature::avx512vnni, "avx512_vnni");
  require_same(cpu_feature::avx512bf16, "avx512_bf16");
  require_same(cpu_feature::avxvnni, "avx_vnni");
}
#endif

#elif defined(__aarch64__) && defined(__linux__)

using nibble::simd::read_cpu_features;

TEST_CASE("each instruction set stands where the kernel puts it", "[cpu_features]") {
  CHECK(to_string(read_cpu_features(HWCAP_AES, 0)) == "aes");
  CHECK(to_string(read_cpu_features(HWCAP_SHA2, 0)) == "sha2");
  CHECK(to_string(read_cpu_features(HWCAP_CRC32, 0)) == "crc32");
  CHECK(to_string(read_cpu_features(HWCAP_ATOMICS, 0)) == "atomics");
  CHECK(to_string(read_cpu_features(HWCAP_FPHP, 0)) == "fphp");
  CHECK(to_string(read_cpu_features(HWCAP_ASIMDHP, 0)) == "asimdhp");
  CHECK(to_string(read_cpu_features(HWCAP_ASIMDRDM, 0)) == "asimdrdm");
  CHECK(to_string(read_cpu_features(HWCAP_JSCVT, 0)) == "jscvt");
  CHECK(to_string(read_cpu_features(HWCAP_FCMA, 0)) == "fcma");
  CHECK(to_string(read_cpu_features(HWCAP_LRCPC, 0)) == "lrcpc");
  CHECK(to_string(read_cpu_features(HWCAP_SHA3, 0)) == "sha3");
  CHECK(to_string(read_cpu_features(HWCAP_SM4, 0)) == "sm4");
  CHECK(to_string(read_cpu_features(HWCAP_ASIMDDP, 0)) == "asimddp");
  CHECK(to_string(read_cpu_features(HWCAP_SHA512, 0)) == "sha512");
  CHECK(to_string(read_cpu_features(HWCAP_SVE, 0)) == "sve");
  CHECK(to_string(read_cpu_features(HWCAP_ASIMDFHM, 0)) == "asimdfhm");
  CHECK(to_string(read_cpu_features(HWCAP_PACA, 0)) == "paca");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVE2)) == "sve2");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEAES)) == "sveaes");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEBITPERM)) == "svebitperm");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVESHA3)) == "svesha3");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVESM4)) == "svesm4");
  CHECK(to_string(read_cpu_features(0, HWCAP2_FRINT)) == "frint");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEI8MM)) == "svei8mm");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEF32MM)) == "svef32mm");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEF64MM)) == "svef64mm");
  CHECK(to_string(read_cpu_features(0, HWCAP2_SVEBF16)) == "svebf16");
  CHECK(to_string(read_cpu_features(0, HWCAP2_I8MM)) == "i8mm");
  CHECK(to_string(read_cpu_features(0, HWCAP2_BF16)) == "bf16");
  CHECK(read_cpu_features(HWCAP_FP | HWCAP_ASIMD | HWCAP_CPUID, HWCAP2_BTI).is_empty());
  CHECK(read_cpu_features(0, 0).is_empty());
}

TEST_CASE("this program's own instruction sets are there", "[cpu_features]") {
  const cpu_feature_set needed = nibble::simd::compiled_cpu_features();
  CHECK(to_string(needed.without(nibble::simd::available_cpu_features())).empty());
#if defined(__ARM_FEATURE_DOTPROD)
  CHECK(needed.has(cpu_feature::asimddp));
#else
  CHECK_FALSE(needed.has(cpu_feature::asimddp));
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
  CHECK(needed.has(cpu_feature::i8mm));
#else
  CHECK_FALSE(needed.has(cpu_feature::i8mm));
#endif
}

#endif

}  // namespace
