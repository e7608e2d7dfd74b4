#pragma once

#include <string>

namespace nibble {

/// Something that opening or verifying a file brought to light without refusing it.
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

}  // namespace nibble
