#pragma once

#include <string>
#include <string_view>

#include <nibble/codec/apr_q4.hpp>
#include <nibble/codec/apr_q8.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/iq1_m.hpp>
#include <nibble/codec/iq1_s.hpp>
#include <nibble/codec/iq2_s.hpp>
#include <nibble/codec/iq2_xs.hpp>
#include <nibble/codec/iq2_xxs.hpp>
#include <nibble/codec/iq3_s.hpp>
#include <nibble/codec/iq3_xxs.hpp>
#include <nibble/codec/iq4_nl.hpp>
#include <nibble/codec/iq4_xs.hpp>
#include <nibble/codec/mxfp4.hpp>
#include <nibble/codec/nvfp4.hpp>
#include <nibble/codec/plain.hpp>
#include <nibble/codec/q1_0.hpp>
#include <nibble/codec/q2_0.hpp>
#include <nibble/codec/q2_k.hpp>
#include <nibble/codec/q3_k.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/codec/q4_0.hpp>
#include <nibble/codec/q4_1.hpp>
#include <nibble/codec/q4_k.hpp>
#include <nibble/codec/q4_r8.hpp>
#include <nibble/codec/q5_0.hpp>
#include <nibble/codec/q5_1.hpp>
#include <nibble/codec/q5_k.hpp>
#include <nibble/codec/q6_k.hpp>
#include <nibble/codec/q8.hpp>
#include <nibble/codec/q8_0.hpp>
#include <nibble/codec/q8_r8.hpp>
#include <nibble/codec/tq1_0.hpp>
#include <nibble/codec/tq2_0.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

namespace codec_detail {
[[noreturn]] inline void refuse_encoding(encoding which, std::string_view tensor) {
  throw error(error_code::unsupported_encoding,
              {.tensor = std::string(tensor),
               .field = "encoding",
               .found = std::string(to_string(which)),
               .expected = "an encoding that this version can decode"});
}

template <nibble::encoding Encoding, class Visitor>
void visit_codec_of(std::string_view tensor, Visitor& visitor) {
  if constexpr (has_codec<Encoding>) {
    visitor(typename codec_of<Encoding>::type{});
  } else {
    refuse_encoding(Encoding, tensor);
  }
}
}  // namespace codec_detail

/// Calls visitor(codec) with a value of the codec type of `which`. Throws unsupported_encoding, naming
/// `tensor`, where it has none.
template <class Visitor>
void visit_codec(encoding which, std::string_view tensor, Visitor&& visitor) {
  switch (which) {
#define NIBBLE_VISIT(name, ...) \
  case encoding::name: codec_detail::visit_codec_of<encoding::name>(tensor, visitor); break;
    NIBBLE_ENCODINGS(NIBBLE_VISIT)
#undef NIBBLE_VISIT
  }
}

namespace codec_detail {
template <class Codec>
struct stored_codec_of {
  using type = Codec;
};
template <class Codec>
requires requires { typename Codec::stored_codec; }
struct stored_codec_of<Codec> {
  using type = typename Codec::stored_codec;
};
}  // namespace codec_detail

/// The same with the codec that reads the blocks: where two encodings differ in nothing but their names,
/// one is compiled. For what reads blocks as they are stored.
template <class Visitor>
void visit_stored_codec(encoding which, std::string_view tensor, Visitor&& visitor) {
  visit_codec(which, tensor, [&]<class Codec>(Codec) {
    visitor(typename codec_detail::stored_codec_of<Codec>::type{});
  });
}

/// Whether `which` has a codec, so that its tensors can be decoded.
[[nodiscard]] constexpr bool is_decodable(encoding which) noexcept {
  switch (which) {
#define NIBBLE_HAS_CODEC(name, ...) \
  case encoding::name: return has_codec<encoding::name>;
    NIBBLE_ENCODINGS(NIBBLE_HAS_CODEC)
#undef NIBBLE_HAS_CODEC
  }
  return false;
}

/// Throws unsupported_encoding, naming `tensor`, where `which` has no codec.
inline void require_codec(encoding which, std::string_view tensor) {
  if (!is_decodable(which)) codec_detail::refuse_encoding(which, tensor);
}

namespace codec_detail {
template <nibble::encoding Encoding>
[[nodiscard]] constexpr bool is_packable() noexcept {
  if constexpr (has_codec<Encoding>) {
    using codec = typename codec_of<Encoding>::type;
    if constexpr (PlainCodec<codec>) return codec::can_pack;
    if constexpr (InterleavedCodec<codec>) return PackableCodec<typename codec::row_codec>;
    return PackableCodec<codec> || TensorScaleCodec<codec>;
  } else {
    return false;
  }
}
}  // namespace codec_detail

/// Whether f32 values can be packed into `which`.
[[nodiscard]] constexpr bool is_packable(encoding which) noexcept {
  switch (which) {
#define NIBBLE_IS_PACKABLE(name, ...) \
  case encoding::name: return codec_detail::is_packable<encoding::name>();
    NIBBLE_ENCODINGS(NIBBLE_IS_PACKABLE)
#undef NIBBLE_IS_PACKABLE
  }
  return false;
}

/// The encodings of which is_packable() is true, for messages: "f32, f16, ... or q8".
[[nodiscard]] inline std::string packable_encodings_text() {
  std::string_view last;
  std::string text;
  const auto add = [&](encoding which, std::string_view name) {
    if (!is_packable(which)) return;
    if (!last.empty()) text += join_text({text.empty() ? "" : ", ", last});
    last = name;
  };
#define NIBBLE_ADD_PACKABLE(name, ...) add(encoding::name, #name);
  NIBBLE_ENCODINGS(NIBBLE_ADD_PACKABLE)
#undef NIBBLE_ADD_PACKABLE
  return join_text({text, " or ", last});
}

/// Whether a tensor can be decoded: by the codec of its encoding, or as tensors compose it.
[[nodiscard]] inline bool is_decodable(const tensor_view& tensor) {
  return tensor.composed() != nullptr || (tensor.has_encoding() && is_decodable(tensor.encoding()));
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
