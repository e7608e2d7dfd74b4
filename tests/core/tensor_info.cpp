#include <nibble/core/tensor_info.hpp>

#include <support/catch.hpp>

namespace {

TEST_CASE("a tensor's entry starts as one of which nothing is known", "[tensor_info]") {
  const nibble::tensor_info info;
  CHECK(info.name.empty());
  CHECK_FALSE(info.encoding);
  CHECK_FALSE(info.dtype_id);
  CHECK(info.dtype.empty());
  CHECK(info.shape == nibble::shape());
  CHECK(info.file_offset_bytes == 0);
  CHECK(info.size_bytes == 0);
  CHECK_FALSE(info.crc32);
}

TEST_CASE("a tensor's entry is a value: what is named is kept, copies are their own", "[tensor_info]") {
  const nibble::tensor_info info{.name = "q_proj.weight",
                                 .encoding = nibble::encoding::q4,
                                 .dtype_id = 8,
                                 .shape = {576, 576},
                                 .file_offset_bytes = 1024,
                                 .size_bytes = 207360,
                                 .crc32 = 0U};
  nibble::tensor_info copy = info;
  copy.name = "k_proj.weight";
  copy.shape = {192, 576};
  CHECK(info.name == "q_proj.weight");
  CHECK(info.shape == nibble::shape{576, 576});
  CHECK(info.encoding == nibble::encoding::q4);
  CHECK(info.size_bytes == nibble::stored_bytes(*info.encoding, info.shape));
  // A checksum of 0 is a checksum.
  CHECK(info.crc32 == 0U);
}

}  // namespace
