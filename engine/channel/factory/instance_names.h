// The names of an instance's files: readable, and never the same for two instances.
// Layout    type-instance or namespace-type-instance, where a '-' inside a part is written '~',
//           which no part can hold: the '-' that are left tell the parts apart.
// Threads   plain functions.
// Source    engine/channel/factory/README.md, "Paths".
#pragma once
#include <string>
#include <string_view>

#include "engine/channel/instance_id.h"

namespace ferry {

// At most 2 * runtime_instance_id::max_part_bytes + 12 bytes, all of [A-Za-z0-9._~-].
std::string file_name_of(const runtime_instance_id& instance);

// FNV-1a of 128 bits, as 32 hexadecimal digits. Spreads names evenly; someone who chooses the names
// can make two of them collide, so whoever uses it compares the names themselves too.
std::string name_hash(std::string_view name);

}  // namespace ferry
