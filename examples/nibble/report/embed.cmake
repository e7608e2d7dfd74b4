cmake_minimum_required(VERSION 3.25)

# Joins FOLDER/page.html, page.css and page.js into HEADER: the text before the data, between them and the
# details, and behind both.
file(READ ${FOLDER}/page.html page)
file(READ ${FOLDER}/page.css style)
file(READ ${FOLDER}/page.js script)
string(REPLACE "\r\n" "\n" page "${page}")
string(REPLACE "{{style}}" "${style}" page "${page}")
string(REPLACE "{{script}}" "${script}" page "${page}")
set(rest "${page}")
foreach(part data details)
  string(FIND "${rest}" "{{${part}}}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "${FOLDER}/page.html has no place for {{${part}}}")
  endif()
  string(SUBSTRING "${rest}" 0 ${at} before_${part})
  string(LENGTH "{{${part}}}" length)
  math(EXPR at "${at} + ${length}")
  string(SUBSTRING "${rest}" ${at} -1 rest)
endforeach()
file(WRITE ${HEADER} "#pragma once

#include <string_view>

/// The page of nibble report, in which data and details are still to be put.
namespace nibble_command::report_page {

inline constexpr std::string_view before_data = R\"page(${before_data})page\";
inline constexpr std::string_view before_details = R\"page(${before_details})page\";
inline constexpr std::string_view after_details = R\"page(${rest})page\";

}  // namespace nibble_command::report_page
")
