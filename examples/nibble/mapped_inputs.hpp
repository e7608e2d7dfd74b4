#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <sys/mman.h>
#include <unistd.h>
#include <csignal>
#endif

#include <nibble/core/error.hpp>
#include <nibble/file/path_text.hpp>

namespace nibble_command {

/// The files that are mapped. Where one of them is shortened by others while it is read, the system
/// raises SIGBUS, which would end the program and leave a partial file behind. Instead the bytes that
/// are gone read as zeros from then on, and the next look at require_whole() ends the work with an error
/// that names the file. Windows lets no one shorten a file that is mapped.
class mapped_inputs {
 public:
  /// Says what is about to be opened: bytes that go missing meanwhile are its.
  static void begin(std::string path) {
    opened().push_back({std::move(path), nullptr, 0});
#if !defined(_WIN32)
    static const bool is_installed = install();
    static_cast<void>(is_installed);
#endif
  }
  /// Says where a file is mapped.
  static void add(std::string_view path, std::span<const std::byte> bytes) {
    opened().push_back({std::string(path), bytes.data(), bytes.size()});
  }

  /// Whether all files are as long as they were.
  [[nodiscard]] static bool are_whole() noexcept { return shortened_.load() < 0; }

  /// Looks at the sizes of the files: a call of the system that is given bytes which are gone fails and
  /// raises no signal.
  static void look_at_sizes() noexcept {
    const std::vector<mapping>& files = opened();
    for (std::size_t i = 0; i < files.size(); ++i) {
      std::error_code ignored;
      const auto bytes = std::filesystem::file_size(nibble::path_of_text(files[i].path), ignored);
      if (!ignored && bytes < files[i].size_bytes) shortened_.store(static_cast<long>(i));
    }
  }

  /// Throws read_failed where a file has been shortened.
  static void require_whole() {
    if (are_whole()) return;
    throw nibble::error(nibble::error_code::read_failed,
                        {.file = opened()[static_cast<std::size_t>(shortened_.load())].path,
                         .found = "a file that was shortened while it was read",
                         .expected = "one that stays as it is"});
  }

 private:
  struct mapping {
    std::string path;
    const std::byte* begin;  ///< null while it is being opened
    std::size_t size_bytes;
  };

  [[nodiscard]] static std::vector<mapping>& opened() {
    static std::vector<mapping> files;
    return files;
  }

#if !defined(_WIN32)
  [[nodiscard]] static bool install() {
    struct sigaction replacing {};
    replacing.sa_sigaction = replace_pages;
    replacing.sa_flags = SA_SIGINFO;
    return ::sigaction(SIGBUS, &replacing, nullptr) == 0;
  }

  /// Puts zeros where the bytes of a file are gone. Calls the system alone, as a signal handler must.
  static void replace_pages(int signal, siginfo_t* info, void*) {
    const auto page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    const std::uintptr_t page = address / page_bytes * page_bytes;
    const std::vector<mapping>& files = opened();
    std::size_t found = files.size();
    std::size_t length = page_bytes;
    for (std::size_t i = 0; i < files.size(); ++i) {
      const auto begin = reinterpret_cast<std::uintptr_t>(files[i].begin);
      if (begin == 0) {
        if (found == files.size() && i + 1 == files.size()) found = i;
      } else if (begin <= address && address < begin + files[i].size_bytes) {
        found = i;
        length = begin + files[i].size_bytes - page;
      }
    }
    void* const at = reinterpret_cast<void*>(page);
    if (found == files.size() ||
        ::mmap(at, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
      std::signal(signal, SIG_DFL);  // nothing of ours: it ends the program when it comes again
      return;
    }
    shortened_.store(static_cast<long>(found));
  }
#endif

  static inline std::atomic<long> shortened_{-1};
};

}  // namespace nibble_command
