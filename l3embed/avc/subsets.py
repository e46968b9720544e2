"""The label lists that made the music and the environmental subset of AudioSet, by the names of its ontology.

From marl/l3embedding, resources/audioset_filters: audioset_filter_ots.csv, 110 labels taken without what is below them,
and audioset_filter_urban.csv, 20 labels taken with it. That the latter made the "environmental" subset of Cramer et al.
2019 is our reading: the paper does not say. Their code never looked below a label, whatever the list said; ours does.
Figures of the paper: 296 K music and 195 K environmental videos, parts of 80, 10 and 10 %. Names of the AudioSet
ontology are CC BY-SA 4.0 (Google).
"""

from __future__ import annotations

_INSTRUMENTS = """
Accordion; Acoustic guitar; Alto saxophone; Bagpipes; Banjo; Bass (instrument role); Bass drum; Bass guitar; Bassoon;
Bell; Bicycle bell; Bowed string instrument; Brass instrument; Bugle; Cello; Change ringing (campanology); Chime;
Church bell; Clarinet; Clavinet; Cornet; Cowbell; Crash cymbal; Cymbal; Didgeridoo; Double bass; Drum; Drum kit;
Drum machine; Drum roll; Electric guitar; Electric piano; Electronic organ; Flute; French horn; Glockenspiel; Gong;
Guitar; Hammond organ; Harmonica; Harp; Harpsichord; Hi-hat; Jingle bell; Keyboard (musical); Mallet percussion;
Mandolin; Maraca; Marimba, xylophone; Mellotron; Musical ensemble; Musical instrument; Oboe; Orchestra; Organ;
Percussion; Piano; Pizzicato; Plucked string instrument; Rattle (instrument); Rhodes piano; Rimshot; Sampler; Saxophone;
Scratching (performance technique); Shofar; Singing bowl; Sitar; Snare drum; Soprano saxophone;
Steel guitar, slide guitar; Steelpan; String section; Strum; Synthesizer; Tabla; Tambourine; Tapping (guitar technique);
Theremin; Timpani; Trombone; Trumpet; Tubular bells; Tuning fork; Ukulele; Vibraphone; Violin, fiddle; Wind chime;
Wind instrument, woodwind instrument; Wood block; Zither
"""
_VOICES = """
Chant; Child singing; Choir; Female singing; Male singing; Mantra; Rapping; Singing; Synthetic singing; Yodeling
"""
_TOOLS = """
Dental drill, dentist's drill; Drill; Filing (rasp); Hammer; Jackhammer; Power tool; Sanding; Sawing; Tools
"""
_URBAN = """
Male speech, man speaking; Female speech, woman speaking; Child speech, kid speaking; Conversation; Babbling;
Battle cry; Laughter; Crying, sobbing; Finger snapping; Clapping; Human group actions; Vehicle; Engine; Siren;
Gunshot, gunfire; Splinter; Chop; Pump (liquid); Basketball bounce; Bark
"""


def _names(*texts: str) -> tuple[str, ...]:
    return tuple(sorted(" ".join(name.split()) for text in texts for name in text.split(";")))


# name -> (labels, whether what is below them in the ontology counts too)
SUBSETS = {
    "music": (_names(_INSTRUMENTS, _VOICES, _TOOLS), False),
    "environmental": (_names(_URBAN), True),
}
