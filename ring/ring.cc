// The ring's templates, compiled once for the real machine.
#include "ring/doorbell.h"
#include "ring/record_ring.h"
#include "ring/returns_ring.h"

namespace ferry {

template class record_producer<std_atomics>;
template class record_consumer<std_atomics>;
template class returns_producer<std_atomics>;
template class returns_consumer<std_atomics>;
template class sleeper<std_atomics>;
template class ringer<std_atomics>;

}  // namespace ferry
