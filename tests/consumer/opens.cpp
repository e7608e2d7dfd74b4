// Compiles the whole library and links what it links, without compiling a packer or a kernel.
#include <cstdio>
#include <string>

#include <nibble/nibble.hpp>
#include <nibble/version.hpp>

int main() {
  try {
    const nibble::reader in("no-such-file.apr");
    std::printf("opened %zu tensors\n", in.size());
    return 1;
  } catch (const nibble::error& refusal) {
    std::printf("nibble %d: %s\n", NIBBLE_VERSION_MINOR, refusal.what());
    return std::string(refusal.what()).find("no-such-file.apr") == std::string::npos ? 1 : 0;
  }
}
