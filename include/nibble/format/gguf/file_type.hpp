#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include <nibble/core/encoding.hpp>

namespace nibble::gguf {

/// The key under which a GGUF file says what most of it is stored as, a number of llama.cpp's
/// llama_ftype.
inline constexpr const char* file_type_key = "general.file_type";

/// A number of llama_ftype, and the encoding of most tensors in such a file. Several numbers mean one
/// encoding where recipes differ in the other tensors (Q4_K_S and Q4_K_M); the first one says least.
struct file_type {
  std::uint32_t number;  ///< of llama_ftype
  encoding most;         ///< of the file's tensors
};

/// The numbers as llama.cpp's llama.h has them.
inline constexpr std::array file_types{
    file_type{0, encoding::f32},      file_type{1, encoding::f16},      file_type{2, encoding::q4_0},
    file_type{3, encoding::q4_1},     file_type{7, encoding::q8_0},     file_type{8, encoding::q5_0},
    file_type{9, encoding::q5_1},     file_type{10, encoding::q2_k},    file_type{21, encoding::q2_k},
    file_type{12, encoding::q3_k},    file_type{11, encoding::q3_k},    file_type{13, encoding::q3_k},
    file_type{15, encoding::q4_k},    file_type{14, encoding::q4_k},    file_type{17, encoding::q5_k},
    file_type{16, encoding::q5_k},    file_type{18, encoding::q6_k},    file_type{25, encoding::iq4_nl},
    file_type{30, encoding::iq4_xs},  file_type{32, encoding::bf16},    file_type{38, encoding::mxfp4},
    file_type{19, encoding::iq2_xxs}, file_type{20, encoding::iq2_xs},  file_type{28, encoding::iq2_xs},
    file_type{29, encoding::iq2_s},   file_type{23, encoding::iq3_xxs}, file_type{26, encoding::iq3_s},
    file_type{22, encoding::iq3_s},   file_type{27, encoding::iq3_s},   file_type{24, encoding::iq1_s},
    file_type{31, encoding::iq1_m},   file_type{36, encoding::tq1_0},   file_type{37, encoding::tq2_0},
    file_type{39, encoding::nvfp4},   file_type{40, encoding::q1_0},    file_type{41, encoding::q2_0},
};

/// What a file is to say of itself that stores most elements of its matrices as `most` and said
/// `former` before: that, where it means the same encoding, otherwise the first number that means it.
/// Nothing where llama.cpp has no number for the encoding.
[[nodiscard]] inline std::optional<std::uint32_t> file_type_of(encoding most, std::uint64_t former) {
  std::optional<std::uint32_t> first;
  for (const file_type& each : file_types) {
    if (each.most != most) continue;
    if (each.number == former) return each.number;
    if (!first) first = each.number;
  }
  return first;
}

}  // namespace nibble::gguf
