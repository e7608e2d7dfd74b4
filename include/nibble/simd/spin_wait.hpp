#pragma once

namespace nibble::simd {

/// Tells the processor that this thread looks at memory until another thread writes it, which takes some
/// 10 to 150 cycles. Does nothing where compilers know no such instruction.
inline void spin_wait() noexcept {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
  __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

}  // namespace nibble::simd
