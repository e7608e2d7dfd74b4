#pragma once

// Packs values into blocks. Loop nest:
//
//   for each block: the codec chooses scale, min and codes of its values

#include <algorithm>
#include <cfloat>
#include <concepts>
#include <cstddef>
#include <cstring>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/codecs.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/architecture.hpp>

#if !NIBBLE_ROUNDS_ALIKE
#error "packing must give the same bytes everywhere: compile it without -ffast-math"
#endif
static_assert(FLT_EVAL_METHOD == 0, "packing needs f32 arithmetic without excess precision");

namespace nibble {

inline namespace NIBBLE_ARCHITECTURE {

namespace kernel {

/// Packs the blocks of `from` into `to`, which has their bytes and does not overlap the values; it ends
/// at the first that cannot be packed. Throws unsupported_encoding where the encoding has no codec.
template <std::same_as<this_architecture> Architecture = this_architecture>
[[nodiscard]] packed_blocks pack_blocks(const values_of_blocks& from, std::byte* to) {
  packed_blocks done;
  visit_codec(from.which, {}, [&]<class Codec>(Codec) {
    if constexpr (PackableCodec<Codec>) {
      for (std::size_t at = 0; at < from.values.size(); at += Codec::block_elements) {
        const std::size_t count = std::min(from.values.size() - at, Codec::block_elements);
        typename Codec::block block;
        done.values = at;
        const auto values = from.values.subspan(at, count);
        const block_packing how{.search = from.search,
                                .importance = from.importance.empty()
                                                  ? from.importance
                                                  : from.importance.subspan(at, count)};
        if constexpr (requires { Codec::pack(values, block, from.rule, how); }) {
          done.status = Codec::pack(values, block, from.rule, how);
        } else {
          done.status = Codec::pack(values, block, how);
        }
        if (done.status != pack_status::packed) return;
        std::memcpy(to, &block, sizeof(block));
        to += sizeof(block);
      }
    }
  });
  return done;
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
