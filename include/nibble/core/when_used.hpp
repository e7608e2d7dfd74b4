#pragma once

namespace nibble {

/// The default of a template parameter that means nothing: functions have it so that what they call,
/// above all the JSON parser and printer, is compiled where they are called and not wherever their
/// header is included. Functions that do much with one type, JSON above all, have that type for the
/// parameter: then not even what they call of it is looked up before.
struct when_used {};

}  // namespace nibble
