#pragma once

#include <functional>
#include <string>
#include <vector>

namespace nibble_test {

/// While one lives, the calls of this program that write, lock, sync, rename and remove files are
/// listed ("fsync file.nibble-partial", "rename file.nibble-partial file": names without folders) and
/// may be made to fail. One at a time, and one thread.
class observed_calls {
 public:
  /// Given a call as it is listed: 0 to let it through, or the error number that it fails with.
  using judge = std::function<int(const std::string&)>;

  explicit observed_calls(judge failure = [](const std::string&) { return 0; });
  observed_calls(const observed_calls&) = delete;
  observed_calls& operator=(const observed_calls&) = delete;
  ~observed_calls();

  /// Whether calls can be seen at all here: it takes glibc.
  [[nodiscard]] static bool is_possible() noexcept;
  [[nodiscard]] const std::vector<std::string>& list() const noexcept { return list_; }

  /// Used by what stands in for the system's calls: lists one and sets errno where it is to fail.
  [[nodiscard]] bool refuses(std::string call);
  [[nodiscard]] static observed_calls* current() noexcept;

 private:
  judge failure_;
  std::vector<std::string> list_;
};

}  // namespace nibble_test
