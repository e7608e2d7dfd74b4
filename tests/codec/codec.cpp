#include <nibble/codec/codec.hpp>

#include <string>
#include <type_traits>

#include <nibble/codec/codecs.hpp>

#include <support/catch.hpp>

namespace {

using nibble::encoding;

// Each codec is of exactly one kind: kernels are overloaded on the kinds.
template <class T>
constexpr int kinds = (nibble::PlainCodec<T> ? 1 : 0) + (nibble::BlockCodec<T> ? 1 : 0) +
                      (nibble::TensorScaleCodec<T> ? 1 : 0) + (nibble::InterleavedCodec<T> ? 1 : 0);

struct no_codec {};
struct only_an_encoding {
  static constexpr nibble::encoding encoding = nibble::encoding::q4;
};

TEST_CASE("every codec is of one kind", "[codec]") {
  static_assert(nibble::PlainCodec<nibble::f32> && kinds<nibble::f32> == 1);
  static_assert(nibble::PlainCodec<nibble::f16> && kinds<nibble::f16> == 1);
  static_assert(nibble::PlainCodec<nibble::bf16> && kinds<nibble::bf16> == 1);
  static_assert(nibble::PlainCodec<nibble::i64> && kinds<nibble::i64> == 1);
  static_assert(nibble::BlockCodec<nibble::q8> && kinds<nibble::q8> == 1);
  static_assert(nibble::BlockCodec<nibble::q4> && kinds<nibble::q4> == 1);
  static_assert(nibble::BlockCodec<nibble::apr_q4> && kinds<nibble::apr_q4> == 1);
  static_assert(nibble::BitCodec<nibble::q4_k> && kinds<nibble::q4_k> == 1);
  static_assert(!nibble::BitCodec<nibble::q4_0> && nibble::PackableCodec<nibble::q4_0>);
  static_assert(!nibble::PackableCodec<nibble::iq4_nl> && !nibble::PackableCodec<nibble::f32>);
  static_assert(nibble::TensorScaleCodec<nibble::apr_q8> && kinds<nibble::apr_q8> == 1);
  static_assert(nibble::InterleavedCodec<nibble::q4_r8> && kinds<nibble::q4_r8> == 1);
  static_assert(!nibble::Codec<no_codec> && !nibble::Codec<int>);
  static_assert(nibble::Codec<only_an_encoding> && kinds<only_an_encoding> == 0);
  SUCCEED("the assertions were compiled");
}

/// Whether `Encoding` has a codec, having held that one against the table.
template <encoding Encoding>
bool check_codec() {
  if constexpr (nibble::has_codec<Encoding>) {
    using codec = typename nibble::codec_of<Encoding>::type;
    const nibble::encoding_description& row = nibble::describe(Encoding);
    CAPTURE(row.name);
    CHECK(codec::encoding == Encoding);
    CHECK(kinds<codec> == 1);
    CHECK(nibble::PlainCodec<codec> == (row.family == nibble::encoding_family::plain));
    CHECK(nibble::TensorScaleCodec<codec> == (row.header_bytes != 0));
    if constexpr (nibble::BlockCodec<codec>) {
      CHECK(sizeof(typename codec::block) == row.block_bytes);
      CHECK(codec::block_elements == row.block_elements);
      CHECK(std::is_trivially_copyable_v<typename codec::block>);
    } else if constexpr (nibble::PlainCodec<codec>) {
      CHECK(sizeof(typename codec::stored_type) == row.block_bytes);
    }
  }
  return nibble::has_codec<Encoding>;
}

TEST_CASE("the codec of an encoding codes that encoding, and its block is the table's", "[codec]") {
  int codecs = 0;
#define NIBBLE_TEST_CODEC(name, ...) codecs += check_codec<encoding::name>() ? 1 : 0;
  NIBBLE_ENCODINGS(NIBBLE_TEST_CODEC)
#undef NIBBLE_TEST_CODEC
  CHECK(codecs == 44);
  CHECK(nibble::has_codec<encoding::q4>);
}

}  // namespace
