#pragma once

#include <functional>
#include <string>
#include <vector>

namespace nibble_test {

/// While one lives, the calls of this program that the system answers for files are seen, and may be
/// made to fail. Each is spelt with the names that it is about, without folders: "fsync
/// file.nibble-partial", "rename file.nibble-partial file". One at a time, and one thread.
///
/// Reads and writes move half of the bytes that they are asked for: what was moved in part has to go on
/// from there.
class observed_calls {
 public:
  /// Given a call as it is listed: 0 to let it through, the error number that it fails with, or
  /// `moves_nothing`.
  using judge = std::function<int(const std::string&)>;
  /// For a read or a write: it succeeds, with a count of 0.
  static constexpr int moves_nothing = -1;

  explicit observed_calls(judge failure = [](const std::string&) { return 0; });
  observed_calls(const observed_calls&) = delete;
  observed_calls& operator=(const observed_calls&) = delete;
  ~observed_calls();

  /// Whether calls can be seen at all here: it takes glibc on a system of 64 bits.
  [[nodiscard]] static bool is_possible() noexcept;
  /// Calls that write, lock, sync, rename and remove.
  [[nodiscard]] const std::vector<std::string>& list() const noexcept { return list_; }
  /// Those, and calls that open, close, ask, read, map, size and change permissions.
  [[nodiscard]] const std::vector<std::string>& list_of_all() const noexcept { return all_; }

  /// Used by what stands in for the system's calls: lists one and says what the judge says of it.
  [[nodiscard]] int verdict_on(const std::string& call, bool changes_files);
  /// Nothing while a call is being listed or judged.
  [[nodiscard]] static observed_calls* current() noexcept;

 private:
  judge failure_;
  std::vector<std::string> list_;
  std::vector<std::string> all_;
  bool is_judging_ = false;
};

}  // namespace nibble_test
