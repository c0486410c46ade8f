"""Everyday words for COCO's 80 categories, for CHAIR.

Each row holds the words and double words people use for a category, in the singular
(`chair.ObjectWords` adds plurals and the category's own name). The row `NO_OBJECT` lists phrases
that contain such a word but show no such thing. Words that name a category only sometimes (a glass,
a ball, a couple, to cook) are left out, since each would count as a hallucination when it does not.

Departures: written for this project; the list of Rohrbach et al. (2018) is longer, so published
CHAIR numbers on COCO differ slightly from those with this table.
"""

NO_OBJECT = "(no object)"

_ROWS = {
    "person": "man, woman, boy, girl, child, kid, toddler, baby, infant, people, adult, lady, "
    "gentleman, guy, male, female, teenager, pedestrian, crowd, player, rider, skier, snowboarder, "
    "skateboarder, surfer, skater, batter, pitcher, catcher, umpire, cyclist, biker, passenger, "
    "driver, worker, chef, officer, policeman, cop, soldier, bride, groom, mother, father, son, "
    "daughter, brother, sister, friend, student, teacher, cowboy, farmer, tourist, fisherman, "
    "performer, athlete",
    "bicycle": "bike, tricycle",
    "car": "automobile, sedan, suv, minivan, taxi, cab, hatchback, limousine",
    "motorcycle": "motorbike, motor bike, motor cycle, scooter, moped",
    "airplane": "plane, air plane, aeroplane, jet, aircraft, airliner, jumbo jet, biplane",
    "bus": "minibus, double decker, trolley bus",
    "train": "locomotive, tram, steam engine, railway car, train car",
    "truck": "pickup, lorry, firetruck, fire engine",
    "boat": "ship, sailboat, canoe, kayak, ferry, yacht, rowboat, raft, dinghy, gondola",
    "traffic light": "stoplight, stop light, traffic signal",
    "fire hydrant": "hydrant",
    "stop sign": "stopsign",
    "bench": "pew",
    "bird": "pigeon, seagull, gull, duck, goose, owl, parrot, sparrow, swan, eagle, hawk, crow, "
    "rooster, hen, penguin, flamingo, pelican, peacock, ostrich, robin, heron, dove, duckling",
    "cat": "kitten, kitty, feline, tabby",
    "dog": "puppy, pup, doggy, poodle, terrier, labrador, retriever, bulldog, dachshund, husky, "
    "collie, hound",
    "horse": "pony, foal, stallion, mare, colt",
    "sheep": "lamb, ram, ewe",
    "cow": "cattle, bull, calf, ox, heifer, bison",
    "bear": "grizzly, panda, bear cub",
    "backpack": "back pack, knapsack, rucksack, book bag",
    "umbrella": "parasol",
    "handbag": "hand bag, purse, tote bag, shoulder bag",
    "tie": "necktie, bow tie, bowtie",
    "suitcase": "suit case, luggage, briefcase",
    "frisbee": "flying disc",
    "skis": "ski",
    "snowboard": "snow board",
    "sports ball": "soccer ball, tennis ball, football, basketball, volleyball, beach ball",
    "baseball glove": "catchers mitt, baseball mitt",
    "skateboard": "skate board",
    "surfboard": "surf board, boogie board, bodyboard",
    "tennis racket": "racket, racquet, tennis racquet",
    "wine glass": "wineglass, glass of wine, champagne glass",
    "cup": "mug, teacup",
    "spoon": "teaspoon, tablespoon",
    "sandwich": "burger, hamburger, cheeseburger, panini",
    "orange": "tangerine, mandarin, clementine",
    "hot dog": "hotdog, chili dog, corn dog",
    "donut": "doughnut, bagel",
    "cake": "cheesecake, cupcake",
    "chair": "armchair, stool, recliner",
    "couch": "sofa, loveseat, love seat, settee, futon",
    "potted plant": "houseplant, house plant, plant pot",
    "bed": "mattress",
    "dining table": "table, desk",
    "toilet": "urinal, commode, toilet seat",
    "tv": "television, tv set, television set, flat screen",
    "laptop": "laptop computer, notebook computer, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, controller",
    "cell phone": "cellphone, mobile phone, phone, smartphone, telephone, iphone",
    "microwave": "microwave oven",
    "oven": "stove, stove top oven, stovetop oven",
    "toaster": "toaster oven",
    "sink": "washbasin, wash basin",
    "refrigerator": "fridge, freezer",
    "book": "novel, textbook",
    "teddy bear": "teddy, stuffed bear, toy bear",
    "hair drier": "hair dryer, hairdryer, blow dryer",
    "toothbrush": "tooth brush",
    NO_OBJECT: "home plate, license plate, car seat, train track, train station, bus stop, "
    "bus station, ski slope, ski lift, ski pole, ski resort, phone booth, truck bed, flower bed, "
    "mouse pad, boat house, dog house, bird house, bird feeder, cat food, cup holder, tv stand, "
    "tv show, cake stand, pizza box, pizza cutter, dog bowl, dog bed, orange juice, apple pie, "
    "banana bread, knife block, oven mitt, toilet paper, toilet brush, chair lift, table cloth, "
    "bottle cap, sandwich shop",
}

# Words for the young and the grown of an animal, or for what a vehicle carries, name no person:
# "a baby elephant" is an elephant, "a passenger train" a train.
_PREFIXES = {
    "baby": "bird cat dog horse sheep lamb cow elephant bear zebra giraffe duck goose goat animal",
    "adult": "bird cat dog horse sheep cow elephant bear zebra giraffe duck goose goat animal",
    "passenger": "train jet plane airplane car bus ferry boat ship van",
}


def _read_rows() -> dict[str, list[str]]:
    table = {name: words.split(", ") for name, words in _ROWS.items()}
    owner = {word: name for name, words in table.items() for word in words}
    for prefix, nouns in _PREFIXES.items():
        for noun in nouns.split():
            unnamed = NO_OBJECT if noun in ("goat", "animal", "van") else noun
            table.setdefault(owner.get(noun, unnamed), []).append(f"{prefix} {noun}")
    return table


COCO_SYNONYMS: dict[str, list[str]] = _read_rows()
