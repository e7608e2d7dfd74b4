#include <nibble/core/architecture.hpp>

#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include <support/catch.hpp>

namespace {

constexpr std::string_view architecture = NIBBLE_ARCHITECTURE_NAME;

bool names(std::string_view part) { return architecture.find(part) != std::string_view::npos; }

TEST_CASE("the namespace names each instruction set that the compiler may use", "[architecture]") {
  CAPTURE(architecture);
  CHECK(architecture.starts_with("compiled_for_"));
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  CHECK(names("_fma"));
#else
  CHECK_FALSE(names("_fma"));
#endif
#if defined(__F16C__) || defined(__ARM_FP16_FORMAT_IEEE)
  CHECK(names("_f16"));
#else
  CHECK_FALSE(names("_f16"));
#endif
#if defined(__BMI2__)
  CHECK(names("_bmi2"));
#else
  CHECK_FALSE(names("_bmi2"));
#endif
#if defined(__AVX512VNNI__)
  CHECK(names("_vnni"));
#endif
#if defined(__ARM_FEATURE_ATOMICS)
  CHECK(names("_lse"));
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
  CHECK(names("_i8mm"));
#elif defined(__ARM_FEATURE_DOTPROD)
  CHECK(names("_dotprod"));
#endif
#if defined(__ARM_FEATURE_SVE)
  CHECK(names("_sve"));
#elif defined(__ARM_NEON)
  CHECK(names("_neon"));
#elif defined(__AVX512F__)
  CHECK(names("avx512"));
#elif defined(__AVX2__)
  CHECK(names("_avx2"));
#elif defined(__AVX__)
  CHECK(names("_avx"));
  CHECK_FALSE(names("_avx2"));
#elif defined(__SSE4_2__)
  CHECK(names("_sse4_2"));
#elif defined(__SSE4_1__)
  CHECK(names("_sse4_1"));
#elif defined(__SSE2__) && !defined(__SSE3__)
  CHECK(names("_sse2"));
#endif
}

TEST_CASE("what depends on the instruction set is mangled with its namespace", "[architecture]") {
  static_assert(
      std::is_same_v<nibble::this_architecture, nibble::NIBBLE_ARCHITECTURE::this_architecture>);
  const std::string mangled = typeid(nibble::this_architecture).name();
  CAPTURE(mangled);
  CHECK(mangled.find(architecture) != std::string::npos);
}

}  // namespace
