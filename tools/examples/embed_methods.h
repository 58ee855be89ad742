// What embed_worker.cc offers, as both sides know it.
#pragma once
#include <ferry/ferry.h>

#include <cstdint>

namespace embed {

inline const ferry::method<int(int, int)> add{"add"};
// All primes below a number, as they are found.
inline const ferry::method<ferry::streamed<std::uint32_t>(std::uint32_t)> primes{"primes"};
// Takes so many milliseconds, and says how many.
inline const ferry::method<int(int)> slow{"slow"};

}  // namespace embed
