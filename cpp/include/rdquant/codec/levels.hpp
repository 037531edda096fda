#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

/// Lossless coding of integer levels. Format of a coded tensor (version 1); integers are little-endian, a
/// *varint* is LEB128, a *zigzag* a varint of 2v or −2v − 1, a *block* a varint length and that many bytes.
/// n is the number of levels.
///
///     byte     method·16 + type: method 0 constant, 1 packed, 2 fast, 3 max, 4 sparse,
///              5 max with references; type as LevelType
///     varint   rank
///     varint   each dimension; nothing follows if one of them is 0
///     body     by method:
///
///     method 0, constant
///     zigzag   the one value
///
///     method 1, packed
///     zigzag   least value
///     byte     width w ≤ 32
///     bytes    ⌈n·w/8⌉: value − least in w bits each, low bits first
///
///     methods 2, 3, 5
///     model    as below
///     byte     flags: 0 … 7 log2 of the number of streams (0 for methods 3 and 5), 8 several parts,
///              16 excesses
///     varint   rows per part, if there are several parts
///     bytes    ⌈n·shift/8⌉, if shift > 0: the low bits of all levels
///     parts    each: block of its excesses, if flagged; its bytes, preceded by their varint length
///              in every part but the last, which extends to the end
///
///     method 4, sparse
///     byte     flags: 1 mixed, 2 several parts, 4 one distance, 8 excesses, 16·log2 of the number of
///              streams of signs
///     varint   rows per part, if there are several parts
///     zigzag   common level
///     varint   least distance ≥ 1
///     model    of signs
///     model    of distances, unless flag 4
///     byte     16·split + kept, if that model has a table
///     parts    as below
///
/// Methods 2 to 5 see the tensor as rows × columns × taps: shape[0] × shape[1] × the rest; a vector as one
/// row; and where the rest exceeds 64, all but the last dimension × the last × 1. The taps of one row and
/// column are a *slice*: slice q = row·columns + column, counted from the first row of the part.
///
///     model
///     byte     flags: 1 table, 2 predicts, 4 row scales, 8 column scales, 16 tap scales, 32 centre,
///              64 shift, 128 trellis
///     byte     shift, if flagged
///     zigzag   centre, if flagged; coded is c = (level − centre) >> shift
///     byte     ν, 3 or 5, if trellis is flagged; shift and centre are 0 then, and there is no table
///     varint   chains M ≥ 1, if trellis is flagged
///
///     model, with a table
///     varint   number of symbols S ≤ 4096
///     block    coded: S counts, each as the difference to the one before; they sum to 65536. The symbol
///              is c itself
///
///     model, without a table
///     byte     window W; 0 if W = 1 is closed
///     byte     255 if another W is closed, absent otherwise
///     byte     16·shape + (dead + 8)/2, shape ≤ 9
///     byte     scale of the rows
///     byte     4·(row step − 1) + column step − 1, with row or column scales
///     block    coded, if any of flags 2 … 16: predictors (of tap t: bias, up, min(t, 24) past taps, newest
///              first), then row scales less those of the rows, column scales, tap scales in steps
///
///     coded    adaptive binary arithmetic code of integers; docs/reference/file-format.md has it, and what
///              each kind of them begins with, under "Binary decisions"
///
/// The mean of level (row, column, tap) in 1/64 is 4·bias + up·c(row − 1) + Σ past[j]·c(tap − 1 − j), rounded
/// to 1/16 by (sum + 2) >> 2 and at most 8191 levels; row − 1 within the same part only. Its scale is row +
/// column + tap, 0 … 95, σ = 2^((scale − 31)/8). Symbols are residuals c − ((mean + 8) >> 4) from −W (symbol
/// 0) to W; the two outermost mean "at least W", the excess follows as varint in order of decoding. A closed
/// window is one without excesses: they mean W. How a symbol's interval out of 65536 follows from mean and
/// scale is on the same page under "Probabilities"; its tables are made from integers, so that the same bytes
/// give the same levels on every machine.
///
/// The levels of a trellis are a path in Ungerboeck's code of 2^ν states, whose parity check polynomials
/// (h0, h1) are, in octal, (13, 4) for ν = 3 and (45, 10) for ν = 5. Slice q of a part follows slice q − M
/// at the same tap; the state of the first ones is 0. State s allows levels with v mod 2 = s mod 2, and v
/// makes it (s >> 1) xor (h0 >> 1, if v is odd) xor (h1 >> 1, if ⌊v/2⌋ is odd). Coded is c = ⌊v/2⌋ with mean
/// (mean >> 1) − 8·(v mod 2), and without the dead zone where v is odd; predictions are from v. There are at
/// least as many chains as streams; the slices of a tail continue their chains.
///
/// A part of method 2 is a section of all its slices. A section of one stream consists of B bytes, of which
/// 4 − B mod 2 (all, if B < 4) are the state x and the others 16-bit words. x gives the symbol whose interval
/// [start, start + width) holds x mod 2^16, becomes width·⌊x/2^16⌋ + x mod 2^16 − start, and if it is then
/// below 2^16 and a word is left, x·2^16 + word. At its end x is 0 and all words are taken. A section of more
/// streams:
///
///     varint   slices of the tail, the last ones
///     bits     each stream's state: 4 bits, width w − 17; then its lowest w − 1 bits, low first; filled up
///              to a byte at the end
///     u16      words to the end
///
/// The slices before the tail, counted from the section's first one, belong to stream (number mod streams);
/// streams take turns tap by tap, and take words from one sequence whenever they are below 2^16. At the end
/// all words are taken and every state is 2^16 + h; the streams' h, two bytes each, low first, without the
/// zero bytes at the end of them all, are a section of the tail's slices, of 8 streams after 16 or 32 and of
/// one after 2 … 8. A damaged part does not pass. A part of method 3: decisions about one residual after the
/// other, as the same page says under "Mixing".
///
/// Method 5 is as method 3, but its parts are larger, and rows are also predicted from earlier ones of the
/// part that are like them, as the same page says under "Similar rows". A path of a trellis has as many rows
/// as a part of method 3 would: R = ⌈rows/max(1, ⌊(n + 2^17)/2^18⌋)⌉ of n levels; each R rows of a part begin
/// another.
///
/// Method 4 is for levels most of which are the same. Signs of their differences to the common level, −1, 0
/// or 1, have a closed model with W = 1 without prediction, shift, centre and table. The others are at
/// distances from it, coded less the least one, d, in the order of the elements. With a table (shift 0,
/// centre 0) the symbols are tokens: d below 2^split is its own; else, of d's width w + 1,
/// 2^split + ((w − split) << kept) + the `kept` bits below the leading one, and the w − kept bits below those
/// are raw; split ≤ 12, kept ≤ min(split, 7). Without, they are levels (d >> shift) + 1, predicted as 0, and
/// the low bits are raw; their density is folded (no mass below its mean, so that distribution functions are
/// those of |z|) and their scale is row + column + tap of the element in the model of distances. A part:
///
///     block    signs, coded as a part of method 2 or, if mixed, of method 3; an empty block means zeros
///     block    excesses, if flagged; absent with flag 4, as are the next two
///     block    symbols, coded likewise as a row of columns
///     block    raw bits, low first, if shift > 0 or the table has more than 2^split symbols
///
/// The last block of all has no length before it. Not mixed, n distances have 1 stream, from n = 2^12 on 8,
/// from 2^15 on 16, from 2^17 on 32.
namespace rdquant::codec {

/// What the levels are stored as outside; they are handled as int32 here.
enum class LevelType : std::uint8_t { i32, i8, u8, i16, u16, i4, u4, i64, u32, boolean, i2, u2 };
inline constexpr int kLevelTypes = 12;

/// fast: decoded at hundreds of millions of levels a second. max: smaller, takes about a hundred times as long
/// (levels of a trellis: seven times).
enum class Profile : std::uint8_t { fast, max };

struct LevelsHeader {
  LevelType type = LevelType::i32;
  std::vector<std::uint64_t> shape;
  std::uint64_t size = 0;  ///< product of the shape
};

/// What path levels are, if they are those of a trellis: Ungerboeck's code of `states` states (8 or 32), with
/// that many chains; 0 states: no trellis.
struct Trellis {
  int states = 0;
  std::uint64_t chains = 0;
};

/// Codes `levels`, of the given shape in row-major order, on up to `threads` threads (0: all cores).
///
/// @throws InvalidArgument  the shape has another number of elements, or more than 32 dimensions; `levels`
/// are no path of the trellis, or beyond ±8191 with one.
[[nodiscard]] std::vector<std::uint8_t> encode_levels(std::span<const std::int32_t> levels,
                                                      std::span<const std::uint64_t> shape, LevelType type,
                                                      Profile profile, int threads = 1, Trellis trellis = {});

/// Type and shape of coded levels, so that memory can be taken for them; nothing is decoded.
///
/// @throws CorruptFile  the bytes are no coded levels, or the shape overflows.
[[nodiscard]] LevelsHeader levels_header(std::span<const std::uint8_t> bytes);

/// The trellis of coded levels, 0 states where there is none.
///
/// @throws CorruptFile  as `levels_header`.
[[nodiscard]] Trellis levels_trellis(std::span<const std::uint8_t> bytes);

/// Decodes into `levels`, which has as many elements as the header says. Takes beside that at most 12 bytes a
/// level and 64 MiB.
///
/// @throws CorruptFile  damaged bytes; names section and offset. InvalidArgument: another size of `levels`.
void decode_levels(std::span<const std::uint8_t> bytes, std::span<std::int32_t> levels, int threads = 1);

/// What becomes of a piece of decoded levels, which begins with level number `first` of the tensor.
using TakeLevels = std::function<void(std::size_t first, std::span<const std::int32_t> levels)>;

/// Decodes piece by piece, so that a piece is still in cache when it is used; `take` is called from several
/// threads at a time. Pieces have about 2^18 levels where the tensor's parts have.
///
/// @throws CorruptFile  as above, and what `take` throws.
void decode_levels_into(std::span<const std::uint8_t> bytes, const TakeLevels& take, int threads = 1);

}  // namespace rdquant::codec
