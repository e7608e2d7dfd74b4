#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/encoding.hpp>

namespace nibble {

/// What the writer asks of a class that knows one kind of file: where everything of a file stands, and
/// its bytes but the tensors'. Made from a list of planned_tensor and from metadata, it fixes every
/// offset before the first tensor is packed, so that tensors can be packed and written in any order, by
/// several threads. A file is written so:
///
///   order()               which tensors stand in the file, in which order, as indices into the list
///   offset_bytes(i)       where the bytes of tensor order()[i] start; between the end of one tensor
///                         and the start of the next are zeros
///   front(crc32)          every byte before the first tensor, asked for when all tensors are written;
///                         crc32[i] is the checksum of tensor order()[i]
///   data_end()            where the last tensor ends, its padding included
///   stored(encoding, bytes, buffer)
///                         whole blocks of a tensor as this kind of file has them: `bytes`, or in
///                         `buffer`, where `bytes` may lie
///   has_footer            whether the four bytes from data_end() are the CRC-32 of all before them
///   file_bytes()          size of the whole file
///   read_back(front, file_bytes, footer)
///                         the directory that a reader gets of the file; throws what a reader would
///
/// Of a class without a footer, data_end() is file_bytes(). The const functions may be called by
/// several threads at once. apr::serialiser, gguf::serialiser and safetensors::serialiser are of this
/// concept.
template <class Serialiser>
concept ContainerSerialiser = requires(Serialiser& serialiser, const Serialiser& planned,
                                       std::size_t place, std::span<const std::uint32_t> crc32,
                                       std::span<const std::byte> bytes, encoding which,
                                       std::vector<std::byte>& buffer) {
  { planned.order() } -> std::same_as<std::span<const std::size_t>>;
  { planned.offset_bytes(place) } -> std::same_as<std::uint64_t>;
  { planned.data_end() } -> std::same_as<std::uint64_t>;
  { planned.file_bytes() } -> std::same_as<std::uint64_t>;
  { serialiser.front(crc32) } -> std::same_as<std::vector<std::byte>>;
  { Serialiser::stored(which, bytes, buffer) } -> std::same_as<std::span<const std::byte>>;
  { Serialiser::has_footer } -> std::convertible_to<bool>;
  Serialiser::read_back(bytes, planned.file_bytes(), bytes);
};

}  // namespace nibble
