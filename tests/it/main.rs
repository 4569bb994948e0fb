mod journeys;
