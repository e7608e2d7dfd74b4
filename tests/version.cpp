#include <nibble/version.hpp>

#include <string>

#include <support/catch.hpp>

namespace {

TEST_CASE("the version is the same in parts, as a string and in CMake", "[version]") {
  CHECK(nibble::version == std::to_string(nibble::version_major) + "." +
                               std::to_string(nibble::version_minor) + "." +
                               std::to_string(nibble::version_patch));
  CHECK(nibble::version == NIBBLE_PROJECT_VERSION);
}

}  // namespace
