// Statistics of light: a group of threads measures a part of a zone. All sums are of whole numbers,
// so that they do not depend on who comes first, except for that of the differences.
//
// RED: the site of red in a quad: 0 to 3, row by row; 4 without colour filters.

layout(local_size_x = 64) in;

uniform highp usampler2D quads;
uniform ivec2 count;        // of quads, across and down
uniform int saturation;     // from this light on a sample is saturated

// Of each part: red, twice the green, blue, quads, saturated quads, and the sum of squared
// differences of twice the green, in units of white.
struct Part {
    uint red;
    uint green;
    uint blue;
    uint quads;
    uint saturated;
    float differences;
};

layout(std430, binding = 0) buffer Results {
    uint histogram[256];
    Part parts[];
};

shared uint bins[256];
shared uint sums[5];
shared float differences[64];

uvec4 quad_at(ivec2 at) {
    return texelFetch(quads, at + 1, 0);
}

uint twice_green(uvec4 quad) {
#if RED == 4
    return (quad.x + quad.y + quad.z + quad.w) / 2u;
#elif RED == 0 || RED == 3
    return quad.y + quad.z;
#else
    return quad.x + quad.w;
#endif
}

float squared_difference(uint one, uint other) {
    float difference = (float(one) - float(other)) * (1.0 / 131070.0);
    return difference * difference;
}

void main() {
    uint thread = gl_LocalInvocationID.x;
    for (uint bin = thread; bin < 256u; bin += 64u) {
        bins[bin] = 0u;
    }
    if (thread < 5u) {
        sums[thread] = 0u;
    }
    barrier();

    // Zone `z` of `n` has the quads from `z * count / n`, rounded up.
    ivec2 zone = ivec2(gl_WorkGroupID.xy);
    ivec2 from = (zone * count + ivec2(COLUMNS, ROWS) - 1) / ivec2(COLUMNS, ROWS);
    ivec2 to = ((zone + 1) * count + ivec2(COLUMNS, ROWS) - 1) / ivec2(COLUMNS, ROWS);
    uint own[5] = uint[5](0u, 0u, 0u, 0u, 0u);
    float own_differences = 0.0;
    // A thread goes down a column, and so knows the quad above.
    ivec2 part = (ivec2(0, 1) + int(gl_WorkGroupID.z)) * (to.y - from.y) / int(gl_NumWorkGroups.z);
    ivec2 rows = from.y + part;
    for (int x = from.x + int(thread); x < to.x; x += 64) {
        uint above = twice_green(quad_at(ivec2(x, max(rows.x - 1, 0))));
        for (int y = rows.x; y < rows.y; y++) {
            uvec4 quad = quad_at(ivec2(x, y));
            uint green = twice_green(quad);
            uint sum = quad.x + quad.y + quad.z + quad.w;
            atomicAdd(bins[sum >> 10], 1u);
            if (x > 0) {
                own_differences += squared_difference(green, twice_green(quad_at(ivec2(x - 1, y))));
            }
            if (y > 0) {
                own_differences += squared_difference(green, above);
            }
            above = green;
            uint most = max(max(quad.x, quad.y), max(quad.z, quad.w));
            if (most >= uint(saturation)) {
                own[4]++;
            } else {
                own[3]++;
#if RED == 4
                own[0] += (sum + 2u) / 4u;
                own[1] += green;
                own[2] += (sum + 2u) / 4u;
#else
                own[0] += quad[RED];
                own[1] += green;
                own[2] += quad[3 - RED];
#endif
            }
        }
    }
    for (int i = 0; i < 5; i++) {
        atomicAdd(sums[i], own[i]);
    }
    differences[thread] = own_differences;
    barrier();

    for (uint bin = thread; bin < 256u; bin += 64u) {
        if (bins[bin] > 0u) {
            atomicAdd(histogram[bin], bins[bin]);
        }
    }
    if (thread == 0u) {
        float all = 0.0;
        for (int i = 0; i < 64; i++) {
            all += differences[i];
        }
        uint place = (gl_WorkGroupID.z * uint(ROWS) + gl_WorkGroupID.y) * uint(COLUMNS)
            + gl_WorkGroupID.x;
        parts[place] = Part(sums[0], sums[1], sums[2], sums[3], sums[4], all);
    }
}
