#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nibble/core/architecture.hpp>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#if defined(__aarch64__) && defined(__linux__)
/// Every instruction set beyond ARMv8's own that compilers may use without being asked by name.
///
/// X(name, macro, word, bit): the name is Linux's; the macro by which the compiler says that it may use
/// it, and the bit of the auxiliary vector's words hwcap and hwcap2 by which the kernel says that the
/// processor has it and that its registers are saved.
// clang-format off
#define NIBBLE_CPU_FEATURES(X)                                      \
  X(aes,        __ARM_FEATURE_AES,                      hwcap,  3)  \
  X(sha2,       __ARM_FEATURE_SHA2,                     hwcap,  6)  \
  X(crc32,      __ARM_FEATURE_CRC32,                    hwcap,  7)  \
  X(atomics,    __ARM_FEATURE_ATOMICS,                  hwcap,  8)  \
  X(fphp,       __ARM_FEATURE_FP16_SCALAR_ARITHMETIC,   hwcap,  9)  \
  X(asimdhp,    __ARM_FEATURE_FP16_VECTOR_ARITHMETIC,   hwcap,  10) \
  X(asimdrdm,   __ARM_FEATURE_QRDMX,                    hwcap,  12) \
  X(jscvt,      __ARM_FEATURE_JCVT,                     hwcap,  13) \
  X(fcma,       __ARM_FEATURE_COMPLEX,                  hwcap,  14) \
  X(lrcpc,      __ARM_FEATURE_RCPC,                     hwcap,  15) \
  X(sha3,       __ARM_FEATURE_SHA3,                     hwcap,  17) \
  X(sm4,        __ARM_FEATURE_SM4,                      hwcap,  19) \
  X(asimddp,    __ARM_FEATURE_DOTPROD,                  hwcap,  20) \
  X(sha512,     __ARM_FEATURE_SHA512,                   hwcap,  21) \
  X(sve,        __ARM_FEATURE_SVE,                      hwcap,  22) \
  X(asimdfhm,   __ARM_FEATURE_FP16_FML,                 hwcap,  23) \
  X(paca,       __ARM_FEATURE_PAUTH,                    hwcap,  30) \
  X(sve2,       __ARM_FEATURE_SVE2,                     hwcap2, 1)  \
  X(sveaes,     __ARM_FEATURE_SVE2_AES,                 hwcap2, 2)  \
  X(svebitperm, __ARM_FEATURE_SVE2_BITPERM,             hwcap2, 4)  \
  X(svesha3,    __ARM_FEATURE_SVE2_SHA3,                hwcap2, 5)  \
  X(svesm4,     __ARM_FEATURE_SVE2_SM4,                 hwcap2, 6)  \
  X(frint,      __ARM_FEATURE_FRINT,                    hwcap2, 8)  \
  X(svei8mm,    __ARM_FEATURE_SVE_MATMUL_INT8,          hwcap2, 9)  \
  X(svef32mm,   __ARM_FEATURE_SVE_MATMUL_FP32,          hwcap2, 10) \
  X(svef64mm,   __ARM_FEATURE_SVE_MATMUL_FP64,          hwcap2, 11) \
  X(svebf16,    __ARM_FEATURE_SVE_BF16,                 hwcap2, 12) \
  X(i8mm,       __ARM_FEATURE_MATMUL_INT8,              hwcap2, 13) \
  X(bf16,       __ARM_FEATURE_BF16_VECTOR_ARITHMETIC,   hwcap2, 14) \
  X(cssc,       __ARM_FEATURE_CSSC,                     hwcap2, 34) \
  X(mops,       __ARM_FEATURE_MOPS,                     hwcap2, 43)
// clang-format on
#elif defined(__x86_64__) || defined(__i386__)
/// Every instruction set beyond x86-64's own that compilers may use without being asked by name.
///
/// X(name, macro, leaf, subleaf, register, bit, state): the macro by which the compiler says that it
/// may use it, the bit of CPUID that says that the processor has it, and the registers that the
/// operating system must save for it.
// clang-format off
#define NIBBLE_CPU_FEATURES(X)                                               \
  X(sse3,             __SSE3__,             1,           0, ecx, 0,  none)   \
  X(ssse3,            __SSSE3__,            1,           0, ecx, 9,  none)   \
  X(fma,              __FMA__,              1,           0, ecx, 12, ymm)    \
  X(cx16,             __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16, 1, 0, ecx, 13, none) \
  X(sse4_1,           __SSE4_1__,           1,           0, ecx, 19, none)   \
  X(sse4_2,           __SSE4_2__,           1,           0, ecx, 20, none)   \
  X(movbe,            __MOVBE__,            1,           0, ecx, 22, none)   \
  X(popcnt,           __POPCNT__,           1,           0, ecx, 23, none)   \
  X(aes,              __AES__,              1,           0, ecx, 25, none)   \
  X(pclmul,           __PCLMUL__,           1,           0, ecx, 1,  none)   \
  X(avx,              __AVX__,              1,           0, ecx, 28, ymm)    \
  X(f16c,             __F16C__,             1,           0, ecx, 29, ymm)    \
  X(bmi,              __BMI__,              7,           0, ebx, 3,  none)   \
  X(avx2,             __AVX2__,             7,           0, ebx, 5,  ymm)    \
  X(bmi2,             __BMI2__,             7,           0, ebx, 8,  none)   \
  X(avx512f,          __AVX512F__,          7,           0, ebx, 16, zmm)    \
  X(avx512dq,         __AVX512DQ__,         7,           0, ebx, 17, zmm)    \
  X(adx,              __ADX__,              7,           0, ebx, 19, none)   \
  X(avx512ifma,       __AVX512IFMA__,       7,           0, ebx, 21, zmm)    \
  X(avx512cd,         __AVX512CD__,         7,           0, ebx, 28, zmm)    \
  X(avx512bw,         __AVX512BW__,         7,           0, ebx, 30, zmm)    \
  X(avx512vl,         __AVX512VL__,         7,           0, ebx, 31, zmm)    \
  X(avx512vbmi,       __AVX512VBMI__,       7,           0, ecx, 1,  zmm)    \
  X(avx512vbmi2,      __AVX512VBMI2__,      7,           0, ecx, 6,  zmm)    \
  X(gfni,             __GFNI__,             7,           0, ecx, 8,  none)   \
  X(vaes,             __VAES__,             7,           0, ecx, 9,  ymm)    \
  X(vpclmulqdq,       __VPCLMULQDQ__,       7,           0, ecx, 10, ymm)    \
  X(avx512vnni,       __AVX512VNNI__,       7,           0, ecx, 11, zmm)    \
  X(avx512bitalg,     __AVX512BITALG__,     7,           0, ecx, 12, zmm)    \
  X(avx512vpopcntdq,  __AVX512VPOPCNTDQ__,  7,           0, ecx, 14, zmm)    \
  X(avx512fp16,       __AVX512FP16__,       7,           0, edx, 23, zmm)    \
  X(avxvnni,          __AVXVNNI__,          7,           1, eax, 4,  ymm)    \
  X(avx512bf16,       __AVX512BF16__,       7,           1, eax, 5,  zmm)    \
  X(lzcnt,            __LZCNT__,            0x80000001U, 0, ecx, 5,  none)   \
  X(xop,              __XOP__,              0x80000001U, 0, ecx, 11, ymm)    \
  X(fma4,             __FMA4__,             0x80000001U, 0, ecx, 16, ymm)    \
  X(tbm,              __TBM__,              0x80000001U, 0, ecx, 21, none)
// clang-format on
#else
#define NIBBLE_CPU_FEATURES(X)
#endif

namespace nibble::simd {

/// One row of the table each; a set of them has the bit of each.
enum class cpu_feature : std::uint8_t {
#define NIBBLE_ENUMERATOR(name, ...) name,
  NIBBLE_CPU_FEATURES(NIBBLE_ENUMERATOR)
#undef NIBBLE_ENUMERATOR
      count
};
static_assert(static_cast<int>(cpu_feature::count) <= 64);

/// Instruction sets: those that code needs, or those that a machine has.
struct cpu_feature_set {
  std::uint64_t bits = 0;

  [[nodiscard]] constexpr bool has(cpu_feature which) const noexcept {
    return (bits >> static_cast<unsigned>(which) & 1U) != 0;
  }
  constexpr void add(cpu_feature which) noexcept {
    bits |= std::uint64_t{1} << static_cast<unsigned>(which);
  }
  /// What of this set `other` lacks.
  [[nodiscard]] constexpr cpu_feature_set without(cpu_feature_set other) const noexcept {
    return {bits & ~other.bits};
  }
  [[nodiscard]] constexpr bool is_empty() const noexcept { return bits == 0; }
  friend constexpr bool operator==(cpu_feature_set, cpu_feature_set) noexcept = default;
};

/// "avx2 fma", in the order of the table.
[[nodiscard]] inline std::string to_string(cpu_feature_set set) {
  std::string names;
  const auto append = [&](cpu_feature which, std::string_view name) {
    if (!set.has(which)) return;
    if (!names.empty()) names += ' ';
    names += name;
  };
#define NIBBLE_APPEND(name, ...) append(cpu_feature::name, #name);
  NIBBLE_CPU_FEATURES(NIBBLE_APPEND)
#undef NIBBLE_APPEND
  static_cast<void>(append);
  return names;
}

#if defined(__aarch64__) && defined(__linux__)

/// What a machine has whose kernel hands out these words.
[[nodiscard]] inline cpu_feature_set read_cpu_features(std::uint64_t hwcap, std::uint64_t hwcap2) {
  cpu_feature_set set;
#define NIBBLE_ADD(name, macro, word, bit) \
  if ((word >> unsigned{bit} & 1U) != 0) set.add(cpu_feature::name);
  NIBBLE_CPU_FEATURES(NIBBLE_ADD)
#undef NIBBLE_ADD
  return set;
}

#elif defined(__x86_64__) || defined(__i386__)

/// The registers that CPUID fills.
struct cpuid_registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// What a machine has whose CPUID answers registers_of(leaf, subleaf), zeros for a leaf it lacks, and
/// whose XGETBV answers saved_state() (asked only where OSXSAVE says that it may be): registers that
/// the operating system does not save are no use, whatever the processor has.
template <class RegistersOf, class SavedState>
[[nodiscard]] cpu_feature_set read_cpu_features(RegistersOf registers_of, SavedState saved_state) {
  constexpr std::uint32_t osxsave = 1U << 27U;
  constexpr std::uint64_t ymm_state = 0x06;  // XMM and the upper halves of YMM
  constexpr std::uint64_t zmm_state = 0xE6;  // those, mask registers, and both parts of ZMM
  const std::uint64_t saved = (registers_of(1, 0).ecx & osxsave) != 0 ? saved_state() : 0;
  struct {
    bool none, ymm, zmm;
  } const is_saved{true, (saved & ymm_state) == ymm_state, (saved & zmm_state) == zmm_state};
  cpu_feature_set set;
#define NIBBLE_ADD(name, macro, leaf, subleaf, register_name, bit, state)                         \
  if (is_saved.state && (registers_of(leaf, subleaf).register_name >> unsigned{bit} & 1U) != 0) { \
    set.add(cpu_feature::name);                                                                   \
  }
  NIBBLE_CPU_FEATURES(NIBBLE_ADD)
#undef NIBBLE_ADD
  return set;
}

#endif

/// What this machine has: the processor and its operating system. Asks them anew at every call.
[[nodiscard]] inline cpu_feature_set available_cpu_features() noexcept {
#if defined(__aarch64__) && defined(__linux__)
  return read_cpu_features(getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
#elif defined(__x86_64__) || defined(__i386__)
  return read_cpu_features(
      [](unsigned leaf, unsigned subleaf) {
        unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
        __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx);
        return cpuid_registers{eax, ebx, ecx, edx};
      },
      [] {
        std::uint32_t low = 0, high = 0;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return std::uint64_t{high} << 32U | low;
      });
#else
  return {};
#endif
}

inline namespace NIBBLE_ARCHITECTURE {

/// What this translation unit's code needs: all that its compiler was allowed to use.
[[nodiscard]] constexpr cpu_feature_set compiled_cpu_features() noexcept {
  cpu_feature_set set;
  // A macro that is defined has become its value by now; one that is not is still its own name.
#define NIBBLE_TEXT(macro) #macro
#define NIBBLE_ADD(name, macro, ...) \
  if (NIBBLE_TEXT(macro)[0] != '_') set.add(cpu_feature::name);
  NIBBLE_CPU_FEATURES(NIBBLE_ADD)
#undef NIBBLE_ADD
#undef NIBBLE_TEXT
  return set;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd
