#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/text.hpp>

#include "command.hpp"
#include "exit_code.hpp"
#include "option_values.hpp"

namespace nibble_command {

/// The encodings that f32 can be packed into.
[[nodiscard]] inline std::vector<std::string> names_of_packable_encodings() {
  std::vector<std::string> names;
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_packable(row.encoding)) names.emplace_back(row.name);
  }
  return names;
}

/// GLOB=ENCODING, of the encodings that can be packed. Throws usage_error, naming the option.
[[nodiscard]] inline tensor_encoding tensor_encoding_of(std::string_view option,
                                                        const std::string& text) {
  const std::size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0) {
    throw usage_error(
        fmt::format("{} {}: GLOB=ENCODING is expected", option, nibble::escape_text(text)));
  }
  const std::string name = in_lower_case(text.substr(at + 1));
  require_choice(fmt::format("{} '{}'=", option, nibble::escape_text(text.substr(0, at))), name,
                 names_of_packable_encodings());
  return {text.substr(0, at), *nibble::encoding_from_name(name)};
}

}  // namespace nibble_command
