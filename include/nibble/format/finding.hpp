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
  /// How bad it is.
  enum class kind : unsigned char {
    note,     ///< unusual, harmless to what is read
    problem,  ///< the file is damaged or its values are unusable
  };
  kind severity = kind::note;  ///< note or problem
  std::string tensor{};        ///< name, or empty where the file as a whole is meant
  std::string field{};         ///< "footer", "crc32", "scales", "values", ...
  std::string text{};          ///< what was found, and what was expected
  std::string file{};          ///< the shard's path where a set was read, otherwise empty
  /// A word for what was found, for programs: wrong_checksum, non_finite_scales, non_finite_values,
  /// mostly_zeros, all_zeros, not_decoded; unusual for everything that opening notes.
  std::string code = "unusual";
};

/// Collects findings of one kind, of which a file may give as many as it has tensors: the first hundred
/// are listed, and one more says how many others there are.
class note_series {
 public:
  /// How many are listed one by one.
  static constexpr std::uint64_t max_listed = 100;

  /// Findings are appended to `to`, which must outlive the series.
  explicit note_series(std::vector<finding>& to) : to_(to) {}

  /// Lists one finding, or counts it.
  void add(finding found) {
    if (++count_ <= max_listed) {
      last_field_ = found.field;
      to_.push_back(std::move(found));
    }
  }
  /// Appends the finding that says how many are not listed, where there are such.
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
