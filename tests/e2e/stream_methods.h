// What the stream tests' host and worker have in common: functions by descriptor.
#pragma once
#include <string>

#include "engine/method.h"
#include "engine/stream/stream.h"

namespace ferry::streams {

struct refusal {
  int code = 0;
  std::string reason;
  std::string message() const { return "refused: " + reason; }
  static auto ferry_fields(auto& self) { return std::tie(self.code, self.reason); }
};

inline const method<int(int, int)> add{"add"};
inline const method<int(int), refusal> refuse{"refuse"};
inline const method<body(body)> mirror{"mirror"};

// Server streams.
inline const method<streamed<int>(int)> count{"count"};
inline const method<streamed<int>(int, int)> count_slowly{"count_slowly"};  // ms before each
inline const method<streamed<int>(int)> co_count{"co_count"};
inline const method<streamed<int>(int, int), refusal> count_then_fail{"count_then_fail"};
inline const method<streamed<body>(int, int)> blobs{"blobs"};  // items, bytes each
inline const method<streamed<body>(int, int)> co_blobs{"co_blobs"};
inline const method<streamed<std::string>(int)> empties{"empties"};
inline const method<streamed<int>()> with_bad_items{"with_bad_items"};
inline const method<streamed<int>(int)> work_long{"work_long"};  // ms of work, with progress
inline const method<streamed<int>(int)> mark_once{"mark_once"};  // progress after ms, no item
inline const method<streamed<int>()> endless{"endless"};

// Uploads.
inline const method<long(streamed<int>)> sum{"sum"};
inline const method<long(streamed<body>)> total_bytes{"total_bytes"};
inline const method<int(streamed<std::string>)> read_three{"read_three"};

// Both ways.
inline const method<streamed<int>(streamed<int>)> twice{"twice"};
inline const method<streamed<int>(streamed<int>)> co_twice{"co_twice"};
inline const method<streamed<int>(streamed<int>)> end_after_one{"end_after_one"};
inline const method<streamed<int>(streamed<int>)> silent{"silent"};

// Calls that take their time.
inline const method<int(int)> on_lane{"on_lane"};           // ms; 2 at once, 1 waits
inline const method<int(int)> co_sleep{"co_sleep"};         // ms
inline const method<int(int)> co_limited{"co_limited"};     // ms; 2 at once, 1 waits
inline const method<int()> until_stopped{"until_stopped"};  // plain
inline const method<int()> lane_until_stopped{"lane_until_stopped"};
inline const method<int()> co_until_stopped{"co_until_stopped"};
inline const method<int()> silent_begins{"silent_begins"};  // how often `silent` has begun
inline const method<int()> stopped{"stopped"};              // how many of the above were
inline const method<int()> lane_begun{"lane_begun"};        // calls that take their time and began
inline const method<long()> time_left_ms{"time_left_ms"};   // -1: no deadline
inline const method<int(std::string)> replace{"replace"};   // registers `version` anew
inline const method<int()> version{"version"};

}  // namespace ferry::streams
