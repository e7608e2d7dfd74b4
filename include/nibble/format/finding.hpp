#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/text.hpp>

namespace nibble {

/// Something that opening or verifying a file found and did not refuse. examine() in verify.hpp says
/// what it looks for, F-DATA-QUALITY-001 among it.
struct finding {
  enum class kind : unsigned char {
    note,     ///< unusual, harmless to what is read
    problem,  ///< the file is damaged or its values are unusable
  };
  kind severity = kind::note;
  std::string tensor{};  ///< name, or empty where the file as a whole is meant
  std::string field{};   ///< "footer", "crc32", "scales", "values", ...
  std::string text{};    ///< what was found, and what was expected
  std::string file{};    ///< the shard's path where a set was read, otherwise empty
};

/// Findings of one kind, of which a file may hold as many as tensors: the first hundred are listed, and
/// how many more there are is said in one.
class note_series {
 public:
  static constexpr std::uint64_t max_listed = 100;

  explicit note_series(std::vector<finding>& to) : to_(to) {}

  void add(finding one) {
    if (++count_ <= max_listed) {
      last_field_ = one.field;
      to_.push_back(std::move(one));
    }
  }
  void finish() && {
    if (count_ <= max_listed) return;
    to_.push_back({.field = std::move(last_field_),
                   .text = join_text({"the same of ", count_ - max_listed, " tensors more"})});
  }

 private:
  std::vector<finding>& to_;
  std::string last_field_;
  std::uint64_t count_ = 0;
};

}  // namespace nibble
